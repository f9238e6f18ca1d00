"""k-means against scikit-learn's, word weights and directions against numpy's full decomposition."""

import math

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from luthier.foundation.schema.rows import FunctionCall, Message, Row, ToolCall
from luthier.stages.data.kmeans import cluster, seed_centroids
from luthier.stages.data.lexical import embed_rows, embed_words, iterate_words, weigh_words
from tests.fixtures.data_rows import make_row


def make_vectors(num_vectors: int = 400, num_groups: int = 5, spread: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    centres = draw.standard_normal((num_groups, 8)) * 3
    groups = draw.integers(num_groups, size=num_vectors)
    return centres[groups] + spread * draw.standard_normal((num_vectors, 8)), groups


@pytest.mark.parametrize("spread", [0.4, 3.0])
def test_kmeans_ends_where_scikit_learn_ends_from_the_same_beginning(spread: float) -> None:
    vectors, _ = make_vectors(spread=spread)
    start = vectors[[0, 50, 100, 150, 200]]
    theirs = KMeans(5, init=start, n_init=1, algorithm="lloyd", tol=0, max_iter=50).fit(vectors)
    ours = cluster(vectors, start.copy())

    assert np.array_equal(ours.labels_N, theirs.labels_)
    np.testing.assert_allclose(ours.centroids_KE, theirs.cluster_centers_, rtol=1e-9)


def test_seeded_centroids_find_groups_that_lie_apart() -> None:
    vectors, groups = make_vectors(spread=0.05)
    found = cluster(vectors, seed_centroids(vectors, 5, seed=1))

    assert adjusted_rand_score(groups, found.labels_N) == 1.0


def test_no_cluster_stays_empty() -> None:
    """Two of the first centroids lie far from everything; each takes the vector farthest from its own centroid."""
    vectors = np.array([[0.0], [1.0], [2.0], [9.0]])
    found = cluster(vectors, np.array([[1.0], [100.0], [200.0]]))

    assert sorted(np.bincount(found.labels_N).tolist()) == [1, 1, 2]


def test_vectors_that_are_all_equal_can_be_parted() -> None:
    vectors = np.ones((6, 3))
    found = cluster(vectors, seed_centroids(vectors, 4, seed=0))

    assert np.bincount(found.labels_N, minlength=4).min() >= 1


def test_weights_are_those_of_the_formula() -> None:
    """Three texts: `refund` is in all and weighs log(4/4) = 0; `a` twice in one: (1 + log 2) log(4/2)."""
    weights = weigh_words([["refund", "a", "a", "b"], ["refund", "b"], ["refund"]]).toarray()
    a, b = (1 + math.log(2)) * math.log(2), math.log(4 / 3)

    assert sorted(weights[0][weights[0] > 0]) == pytest.approx(sorted([a / math.hypot(a, b), b / math.hypot(a, b)]))
    assert sorted(weights[1]) == pytest.approx([0, 0, 1])
    assert not weights[2].any()


def test_vectors_keep_the_angles_of_the_full_decomposition() -> None:
    draw = np.random.default_rng(0)
    texts = [[f"w{word}" for word in draw.integers(200, size=12) % (40 + text % 160)] for text in range(150)]
    weights = weigh_words(texts).toarray()
    left, strengths, _ = np.linalg.svd(weights, full_matrices=False)
    expected = left[:, :100] * strengths[:100]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = embed_words(texts, seed=5, width=100).vectors_NE

    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=0.03)  # power steps leave a small tail
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0)


def test_all_directions_are_exact_where_the_sample_holds_them() -> None:
    """With as many directions as texts nothing is left out: angles are those of the weights themselves."""
    texts = [["a", "b", "c"], ["a", "b"], ["d", "e"], ["d", "c"], ["f"]]
    weights = weigh_words(texts).toarray()
    found = embed_words(texts, seed=0).vectors_NE

    np.testing.assert_allclose(found @ found.T, weights @ weights.T, atol=1e-9)


def test_what_all_rows_share_does_not_make_them_alike() -> None:
    rows = [make_row(question, system="The same long policy for all.") for question in ("parcel late", "invoice wrong")]
    vectors = embed_rows(rows, seed=0).vectors_NE

    assert vectors[0] @ vectors[1] == pytest.approx(0, abs=1e-9)


def test_calls_count_and_rejected_answers_and_system_prompts_do_not() -> None:
    call = ToolCall(function=FunctionCall(name="find_order", arguments='{"id": "A7"}'))
    said = (
        Message(role="system", content="policy"),
        Message(role="user", content="Where?"),
        Message(role="assistant", tool_calls=(call,)),
    )
    row = Row(id="r", kind="preference", messages=said, chosen=(Message(role="assistant", content="Here"),),
              rejected=(Message(role="assistant", content="never"),))  # fmt: skip

    assert sorted(iterate_words(row)) == ["a7", "find_order", "here", "id", "where"]


def test_scripts_without_spaces_are_cut_into_pairs() -> None:
    assert list(iterate_words(Row(id="t", kind="text", text="退款政策 ok 好"))) == ["退款", "款政", "政策", "ok", "好"]
