data {
  int<lower=0> N;
  vector[N] y;
  int<lower=1> K;
  matrix[N, K] X;
}
parameters {
  real a;
  real<lower=0> s;
  vector[K] c;
}
model {
  a ~ normal(0, 10);
  s ~ normal(0, 1);
  c ~ normal(0, 1);
  y ~ normal(a + X .* c, s);
}
