data {
  int<lower=0> N;
  vector[N] y;
  int<lower=1> J;
  array[N] int<lower=1, upper=J> county;
}
parameters {
  real a;
  real b;
  real<lower=0> s;
}
model {
  a ~ normal(0, 10);
  b ~ normal(0, 10);
  s ~ normal(0, 1);
  y ~ normal(a + b * county, s);
}
