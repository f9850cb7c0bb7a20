data {
  int<lower=0> N;
  vector[N] y;
  vector[N] x;
}
parameters {
  vector[2] c;
  real<lower=0> s;
}
model {
  c ~ normal(0, 1);
  s ~ normal(0, 1);
  y ~ normal(c[0] + c[1] * x, s);
}
