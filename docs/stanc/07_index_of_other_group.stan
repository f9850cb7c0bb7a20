data {
  int<lower=0> N;
  vector[N] y;
  vector[N] x;
  int<lower=1> J;
  array[N] int<lower=1, upper=J> county;
  int<lower=1> K;
  array[N] int<lower=1, upper=K> state;
}
parameters {
  real a;
  real b;
  real<lower=0> s;
  vector[J] u;
}
model {
  a ~ normal(0, 10);
  b ~ normal(0, 10);
  s ~ normal(0, 1);
  u ~ normal(a, 1);
  y ~ normal(u[state] + b * x, s);
}
