"""Reference values for EM and coordinate ascent, from scikit-learn 1.9.1 and hmmlearn 0.3.3, from the starts of the examples.

    python references.py > reference.json
"""

import csv
import json
from pathlib import Path

import numpy as np
from hmmlearn.hmm import PoissonHMM
from sklearn.decomposition import FactorAnalysis, LatentDirichletAllocation
from sklearn.mixture import GaussianMixture

EXAMPLES = Path(__file__).parents[3] / "examples"


def rows(name):
    with open(EXAMPLES / name / f"{name}.csv") as f:
        return list(csv.DictReader(f))


def mixture():
    x = np.array([[float(r["eruptions"]), float(r["waiting"])] for r in rows("faithful")])
    start = dict(weights_init=[0.5, 0.5], means_init=[[2, 50], [4, 80]], precisions_init=[[1, 0.01], [1, 0.01]])
    g = GaussianMixture(2, covariance_type="diag", reg_covar=0, tol=1e-14, max_iter=100_000, **start).fit(x)
    return {
        "log_likelihood": g.score(x) * len(x),
        "share": g.weights_.tolist(),
        "mean_duration": g.means_[:, 0].tolist(),
        "mean_waiting": g.means_[:, 1].tolist(),
        "sd_duration": np.sqrt(g.covariances_[:, 0]).tolist(),
        "sd_waiting": np.sqrt(g.covariances_[:, 1]).tolist(),
    }


def chain():
    y = np.array([[int(r["quakes"])] for r in rows("hmm")])
    m = PoissonHMM(2, init_params="", tol=1e-13, n_iter=100_000, lambdas_prior=0, lambdas_weight=0)
    m.startprob_ = np.full(2, 0.5)
    m.transmat_ = np.full((2, 2), 0.5)
    m.lambdas_ = np.array([[15.0], [25.0]])
    m.fit(y)
    return {
        "log_likelihood": m.score(y),
        "to": m.transmat_.tolist(),
        "rate": m.lambdas_.ravel().tolist(),
        "calm": m.predict_proba(y)[:, 0].tolist(),
    }


def factor():
    names = ["hs_grad", "poverty", "single", "murder", "violent"]
    x = np.array([[float(r[n]) for n in names] for r in rows("quality_of_life")])
    x = (x - x.mean(0)) / x.std(0, ddof=1)
    f = FactorAnalysis(1, tol=1e-13, max_iter=100_000, svd_method="lapack").fit(x)
    return {
        "log_likelihood": f.score(x) * len(x),
        "loading": f.components_[0].tolist(),
        "noise": np.sqrt(f.noise_variance_).tolist(),
    }


def topics():
    data = rows("topics")
    speeches, words = sorted({r["speech"] for r in data}), sorted({r["word"] for r in data})
    x = np.zeros((len(speeches), len(words)))
    for r in data:
        x[speeches.index(r["speech"]), words.index(r["word"])] = int(r["n"])
    best = None
    for seed in range(4):
        lda = LatentDirichletAllocation(
            6, doc_topic_prior=0.2, topic_word_prior=0.1, learning_method="batch", max_iter=500,
            evaluate_every=10, perp_tol=1e-3, mean_change_tol=1e-6, max_doc_update_iter=1000, random_state=seed,
        ).fit(x)
        if best is None or lda.bound_ < best:
            best = lda.bound_
    return {"perplexity": best, "tokens": int(x.sum())}


print(json.dumps({"faithful": mixture(), "hmm": chain(), "quality_of_life": factor(), "topics": topics()}, indent=1))
