data {
  int<lower=0> N;
  vector[N] y;
  vector[N] x;
}
parameters {
  real a;
  real b;
  real<lower=0> s;
}
model {
  a ~ normal(0, -10);
  b ~ normal(0, -10);
  s ~ normal(0, 1);
  y ~ normal(a + b * x, s);
}
