import numpy as np
import pytest

from steer.evaluate.intervals import Estimate
from steer.pareto import (
    Constraint,
    Objective,
    Want,
    dominates_surely,
    eligible,
    front,
    front_shares,
    knee,
    recommended,
)

KNOWN = ("authenticity", "coverage", "adversarial_auroc", "adversarial_auroc[domain]", "mmd")
X, Y, Z = (Objective(name, True) for name in "xyz")
DOWN = Objective("y", False)
AUROC = Objective("adversarial_auroc", False)


def points(rows, names="xyz"):
    return [dict(zip(names, row, strict=False)) for row in rows]


def estimate(value, spread=0.0, seed=0, size=400):
    """With draws that are the same up to the value for the same seed."""
    draws = value + spread * np.random.default_rng(seed).standard_normal(size)
    return Estimate(value, value - 1.96 * spread, value + 1.96 * spread, draws=draws)


class TestWhatIsWanted:
    @pytest.mark.parametrize(
        ("text", "objectives", "constraints"),
        [
            ("maximise coverage", [("coverage", True)], []),
            ("Maximize coverage, MINIMIZE mmd", [("coverage", True), ("mmd", False)], []),
            (
                "authenticity >= 0.95, maximise coverage, minimise adversarial_auroc",
                [("coverage", True), ("adversarial_auroc", False)],
                [("authenticity", True, 0.95)],
            ),
            (
                " minimise mmd ; authenticity>=.9;mmd<=1e-3, ",
                [("mmd", False)],
                [("authenticity", True, 0.9), ("mmd", False, 0.001)],
            ),
            ("minimise adversarial_auroc[domain], coverage ≥ 1", [(KNOWN[3], False)], [("coverage", True, 1.0)]),
            ("maximise coverage, coverage ≤ 0.9", [("coverage", True)], [("coverage", False, 0.9)]),
        ],
    )
    def test_a_sentence_says(self, text, objectives, constraints):
        want = Want.parse(text, KNOWN)
        assert [(one.score, one.maximise) for one in want.objectives] == objectives
        assert [(one.score, one.at_least, one.limit) for one in want.constraints] == constraints
        assert Want.parse(str(want), KNOWN) == want

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("", "names nothing to improve"),
            ("coverage >= 0.9", "names nothing to improve"),
            ("maximise coverag", "did you mean 'coverage'"),
            ("maximise coverage, autenticity >= 1", "did you mean 'authenticity'"),
            ("maximise qqqq", "known: authenticity, coverage"),
            ("maximise coverage, minimize coverage", "twice"),
            ("maximise coverage, authenticity >= lots", "expected a number after >=, as in 0.9; found 'lots'"),
            ("maximise coverage, authenticity >= nan", "expected a number"),
            ("maximise coverage, authenticity > 0.9", "expected 'maximise NAME'"),
            ("maximise coverage minimise mmd", "expected 'maximise NAME'"),
            ("coverage", "expected 'maximise NAME'"),
            ("maximise adversarial_auroc", "expected 'minimise adversarial_auroc'"),
        ],
    )
    def test_what_does_not_read_is_refused_in_a_sentence(self, text, complaint):
        with pytest.raises(ValueError) as error:
            Want.parse(text, KNOWN)
        assert complaint in str(error.value)
        assert "\n" not in str(error.value)

    def test_constraints_are_met_by_value_or_surely(self):
        at_least, at_most = Constraint("x", True, 0.9), Constraint("x", False, 0.9)
        for one in (at_least, at_most):
            assert one.met(Estimate(0.9, 0.8, 1.0))
            assert not one.met(Estimate(0.9, 0.8, 1.0), surely=True)
        assert at_least.met(Estimate(0.95, 0.9, 1.0), surely=True)
        assert not at_least.met(Estimate(float("nan")))
        assert not at_least.met(Estimate(0.95), surely=True)


class TestTheFront:
    @pytest.mark.parametrize(
        ("rows", "objectives", "expected"),
        [
            ([], (X, Y), []),
            ([(1, 1)], (X, Y), [0]),
            ([(1, 1), (1, 1)], (X, Y), [0, 1]),
            ([(1, 2), (2, 1), (1, 1), (0, 3)], (X, Y), [0, 1, 3]),
            ([(1, 2), (2, 1), (1, 1), (0, 3)], (X, DOWN), [1]),
            ([(1, 2), (2, 2)], (X, Y), [1]),
            ([(3,), (5,), (5,)], (X,), [1, 2]),
            ([(1, 1, 0), (0, 1, 1), (1, 0, 1), (0, 0, 1)], (X, Y, Z), [0, 1, 2]),
            ([(float("nan"), 9), (1, 1)], (X, Y), [1]),
            ([(float("nan"), 9)], (X, Y), []),
        ],
    )
    def test_nobody_dominates_it(self, rows, objectives, expected):
        assert front(points(rows), objectives) == expected

    def test_as_slow_obvious_code_says(self):
        values = np.random.default_rng(0).integers(0, 6, (60, 3)).astype(float)
        slow = [i for i, p in enumerate(values) if not any((q >= p).all() and (q > p).any() for q in values)]
        assert front(points(values), (X, Y, Z)) == slow

    def test_an_auroc_below_a_coin_toss_is_no_better_than_one(self):
        values = [{"adversarial_auroc": a, "x": x} for a, x in [(0.2, 1), (0.5, 1), (0.5, 2), (0.6, 2)]]
        assert front(values, (AUROC,)) == [0, 1, 2]
        assert front(values, (AUROC, X)) == [2]
        suffixed = [{"adversarial_auroc[domain]": a} for a in (0.2, 0.4)]
        assert front(suffixed, (Objective("adversarial_auroc[domain]", False),)) == [0, 1]

    def test_only_those_that_meet_the_constraints_or_all(self):
        values = points([(1,), (2,), (float("nan"),)], "x")
        assert eligible(values, ()).tolist() == [True, True, True]
        assert eligible(values, (Constraint("x", True, 2),)).tolist() == [False, True, False]
        assert eligible(values, (Constraint("x", True, 3),)).tolist() == [True, True, True]


class TestHowSureThatIs:
    def test_shares_of_paired_resamples(self):
        """Both move together, so that a small lead is a sure one; with resamples of their own it is not."""
        paired = [{"x": estimate(1.0, 1.0, seed=1)}, {"x": estimate(1.1, 1.0, seed=1)}]
        assert front_shares(paired, (X,)) == [0, 1]
        alone = [{"x": estimate(1.0, 1.0, seed=1)}, {"x": estimate(1.1, 1.0, seed=2)}]
        first, second = front_shares(alone, (X,))
        assert 0.3 < first < second < 0.7
        assert first + second == 1

    def test_with_resamples_of_several_numbers_and_with_none(self):
        """Shares of 1,000 draws for x and 200 for y; without draws, what a normal distribution would say."""
        both = [
            {"x": estimate(0, 1, 1, 1000), "y": estimate(0, 1, 2, 200)},
            {"x": estimate(-1, 1, 1, 1000), "y": estimate(-1, 1, 2, 200)},
        ]
        assert front_shares(both, (X, Y)) == [1, 0]
        normal = [{"x": Estimate(0, -1.96, 1.96)}, {"x": Estimate(1, -0.96, 2.96)}]
        assert front_shares(normal, (X,)) == front_shares(normal, (X,))
        assert front_shares(normal, (X,))[1] == pytest.approx(0.76, abs=0.04)  # Phi(1 / sqrt 2)
        assert front_shares([{"x": Estimate(0)}, {"x": Estimate(1)}], (X,)) == [0, 1]
        assert front_shares([], (X,)) == []

    def test_a_point_that_seldom_meets_the_constraint_is_seldom_on_the_front(self):
        both = [
            {"x": estimate(0), "y": estimate(1)},
            {"x": estimate(1), "y": estimate(0.5, 0.1)},
        ]
        limit = Constraint("y", True, 0.6)
        share = float(np.mean(both[1]["y"].draws >= 0.6))
        assert front_shares(both, (X,), (limit,)) == pytest.approx([1 - share, share])

    def test_sure_domination_takes_all_objectives_and_more_than_the_noise(self):
        def point(x, y, seed=0):
            return {"x": estimate(x, 0.1, seed), "y": estimate(y, 0.1, seed + 10)}

        assert dominates_surely(point(1, 0), point(0.9, 0.1, seed=5), (X, DOWN)) is False
        assert dominates_surely(point(2, 0), point(1, 1, seed=5), (X, DOWN)) is True
        assert dominates_surely(point(2, 1), point(1, 0, seed=5), (X, DOWN)) is False
        assert dominates_surely(point(1, 0), point(1, 0), (X, DOWN)) is False
        assert dominates_surely({"x": Estimate(2)}, {"x": Estimate(1)}, (X,)) is False

    def test_two_aurocs_below_a_coin_toss_are_alike(self):
        low, high = ({"adversarial_auroc": estimate(value, 0.01)} for value in (0.2, 0.45))
        assert not dominates_surely(low, high, (AUROC,))


class TestTheKnee:
    @pytest.mark.parametrize(
        ("rows", "objectives", "expected"),
        [
            ([(7,)], (X,), 0),
            ([(1,), (3,), (2,)], (X,), 1),
            ([(4, 4)], (X, Y), 0),
            ([(0, 1), (1, 0)], (X, Y), 1),  # both are extremes: the first objective decides
            ([(0, 10), (9, 9), (10, 0)], (X, Y), 1),
            ([(0, 1000), (0.6, 900), (0.9, 500), (1, 0)], (X, Y), 1),  # whatever the units
            ([(0, 0), (0.6, 100), (0.9, 500), (1, 1000)], (X, DOWN), 1),
            ([(0, 10), (2, 2), (10, 0)], (X, Y), 1),  # a dent has no knee: what is worst is best there
            ([(0, 10), (1, 3), (3, 2), (10, 0)], (X, Y), 2),
            ([(0, 10), (9, 9), (10, 0), (8.9, 8.9)], (X, Y), 1),
            ([(5, 5), (5, 5)], (X, Y), 0),
            ([(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0.6, 0.6)], (X, Y, Z), 3),
            ([(1, 0, 0.2), (0.2, 1, 0), (0, 0.2, 1), (0.5, 0.5, 0.1), (0.45, 0.45, 0.45)], (X, Y, Z), 4),
            # The plane through the ends leans: by the plain sum it would be the fourth.
            ([(1, 0, 0), (0, 1, 0.6), (0.2, 0.7, 1), (0.8, 0.45, 0.9), (0.9, 0.8, 0.35)], (X, Y, Z), 4),
            ([(1, 1000, 0), (0, 0, 1), (0.9, 900, 0.9)], (X, Y, Z), 2),  # one point is best in two objectives
            ([(0, 1, 5), (0.8, 0.8, 5), (1, 0, 5)], (X, Y, Z), 1),  # all alike in the third
            ([(float("nan"), 100), (0, 10), (9, 9), (10, 0)], (X, Y), 2),
        ],
    )
    def test_is_where_the_front_bends(self, rows, objectives, expected):
        assert knee(points(rows), objectives) == expected

    def test_is_the_furthest_from_the_line_through_the_ends(self):
        x = np.linspace(0, 1, 201)
        assert x[knee(points(np.column_stack([x, 1 - x**2])), (X, Y))] == pytest.approx(0.5, abs=0.01)

    def test_there_is_none_without_values(self):
        with pytest.raises(ValueError, match="none of 1 points has a value of x and y"):
            knee(points([(float("nan"), 1)]), (X, Y))


class TestWhatIsRecommended:
    WANT = Want((X,), (Constraint("y", True, 0.9),))

    def pick(self, *rows):
        return recommended([{"x": Estimate(x), "y": Estimate(y, low, 1)} for x, y, low in rows], self.WANT)

    def test_the_best_of_those_that_surely_meet_the_constraints(self):
        found = self.pick((3, 0.95, 0.8), (1, 0.95, 0.9), (2, 0.97, 0.91))
        assert (found.index, found.meets) == (2, "surely")
        met = "it meets y >= 0.9 even at the pessimistic end of its interval"
        assert found.why == f"{met}; of 2 such points it has the highest x"

    def test_or_else_of_those_that_do_by_value(self):
        found = self.pick((4, 0.8, 0.7), (1, 0.95, 0.8), (2, 0.95, 0.8))
        assert (found.index, found.meets) == (2, "by value")
        assert "by its value (no point does by its interval)" in found.why

    def test_or_else_what_misses_least(self):
        found = self.pick((4, 0.5, 0.4), (1, 0.8, 0.7), (9, float("nan"), float("nan")))
        assert (found.index, found.meets) == (1, "no")
        assert found.why == "no point meets y >= 0.9; it misses that least"

    def test_the_knee_of_several_objectives(self):
        rows = [{"x": Estimate(x), "y": Estimate(y)} for x, y in [(0, 10), (9, 9), (10, 0)]]
        found = recommended(rows, Want((X, Y)))
        assert (found.index, found.why) == (1, "of 3 points it is the knee of x and y")

    def test_nothing_where_nothing_is_known(self):
        with pytest.raises(ValueError, match="none of 1 points has a value of x"):
            self.pick((float("nan"), 1, 1))
