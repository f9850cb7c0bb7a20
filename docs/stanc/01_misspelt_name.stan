data {
  int<lower=0> N;
  vector[N] y;
  vector[N] x;
}
parameters {
  real alpha;
  real b;
  real<lower=0> s;
}
model {
  alpha ~ normal(0, 10);
  b ~ normal(0, 10);
  s ~ normal(0, 1);
  y ~ normal(alhpa + b * x, s);
}
