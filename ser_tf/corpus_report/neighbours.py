"""Which recordings are alike, and a map of them."""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

SEED = 0
PERPLEXITY = 30.0
COMPONENTS = 50
FEWEST = 8  # points of a map


def standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns of mean 0 and standard deviation 1.

    Args:
        values: float64[n, columns]. The median stands in for NaN; what does not vary is dropped.

    Returns:
        float64[n, varying columns].
    """
    known = values[:, np.isfinite(values).any(axis=0)]
    filled = np.where(np.isnan(known), np.nanmedian(known, axis=0), known)
    varying = filled[:, filled.std(axis=0) > 1e-9 * np.abs(filled).max(axis=0)]
    return (varying - varying.mean(axis=0)) / varying.std(axis=0)


def perplexity(count: int) -> float:
    """How many neighbours t-SNE minds: 30, or a third of few points."""
    return min(PERPLEXITY, (count - 1) / 3)


def map_of(points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """A map by t-SNE of the 50 principal components, the same in every run.

    van der Maaten and Hinton, 2008.

    Args:
        points: float64[n, columns], standardised.

    Returns:
        float64[n, 2]; ``None`` of fewer than eight points, or points all alike.
    """
    if len(points) < FEWEST or points.shape[1] < 2:
        return None
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    # Its sums over threads would differ from machine to machine.
    with threadpool_limits(1):
        components = PCA(min(COMPONENTS, *points.shape), random_state=SEED).fit_transform(points)
        tsne = TSNE(perplexity=perplexity(len(points)), init="pca", random_state=SEED)
        return tsne.fit_transform(components).astype(float)


def nearest(points: NDArray[np.float64], apart: NDArray | None = None) -> NDArray[np.intp]:
    """For each point, the index of the other one nearest to it (Euclidean).

    Args:
        points: float64[n, columns].
        apart: Of each point, a group of two or more; the nearest of another group is looked for.
    """
    from sklearn.neighbors import NearestNeighbors

    groups = np.arange(len(points)) if apart is None else apart
    if apart is None:
        found = (
            NearestNeighbors(n_neighbors=2).fit(points).kneighbors(points, return_distance=False)
        )
        return np.where(found[:, 0] == groups, found[:, 1], found[:, 0])
    answer = np.empty(len(points), np.intp)
    for group in np.unique(groups):
        own = groups == group
        others = np.flatnonzero(~own)
        search = NearestNeighbors(n_neighbors=1).fit(points[others])
        answer[own] = others[search.kneighbors(points[own], return_distance=False)[:, 0]]
    return answer
