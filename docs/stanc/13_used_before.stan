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
transformed parameters {
  vector[N] m = a + k;
  vector[N] k = b * x;
}
model {
  a ~ normal(0, 10);
  b ~ normal(0, 10);
  s ~ normal(0, 1);
  y ~ normal(m, s);
}
