data {
  int<lower=0> N;
  vector[N] y;
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
  for (t in 1:N) y[t] ~ normal(a + b * y[t - 1], s);
}
