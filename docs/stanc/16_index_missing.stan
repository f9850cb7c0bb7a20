data {
  int<lower=0> N;
  vector[N] y;
  vector[N] x;
  int<lower=1> J;
  array[N] int<lower=1, upper=J> county;
}
parameters {
  real a;
  real b;
  real<lower=0> s;
  array[J] vector[2] u;
}
model {
  a ~ normal(0, 10);
  b ~ normal(0, 10);
  s ~ normal(0, 1);
  for (j in 1:J) u[j] ~ normal(a, 1);
  for (n in 1:N) y[n] ~ normal(u[county[n]] + b * x[n], s);
}
