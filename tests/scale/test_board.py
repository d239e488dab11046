"""Who draws what: nothing is lost and nothing is doubled, whatever happens to the workers."""

from hypothesis import given
from hypothesis import strategies as st

from steer.scale.board import Board, Unit


def board(*sizes: int, lanes: int = 32) -> Board[str]:
    made: Board[str] = Board(lanes)
    made.post(Unit(str(i), size) for i, size in enumerate(sizes))
    return made


def texts(parcel: list[Unit]) -> int:
    return sum(unit.size for unit in parcel)


def test_idle_workers_share_a_round():
    dealt = board(*[8] * 8).deal(["a", "b"], 2)
    assert {worker: [unit.id for unit in parcel] for worker, parcel in dealt.items()} == {
        "a": ["0", "1", "2", "3"],
        "b": ["4", "5", "6", "7"],
    }


def test_of_a_large_round_a_part_is_left_for_whoever_is_done_first():
    made = board(*[8] * 50, lanes=32)
    dealt = made.deal(["a", "b"], 2)
    assert [texts(parcel) for parcel in dealt.values()] == [144, 144]  # of 400, of which 200 are a worker's part
    rest = []
    while parcel := made.deal(["a"], 2).get("a"):
        made.done("a", [unit.id for unit in parcel])
        rest.append(texts(parcel))
    assert rest == [40, 32, 32, 8]


def test_what_two_parcels_of_full_lanes_hold_is_one_parcel():
    """Whose lanes are filled again as its texts end."""
    assert [texts(parcel) for parcel in board(*[8] * 8, lanes=32).deal(["a"], 1).values()] == [64]


def test_a_group_is_drawn_whole_even_where_it_has_more_texts_than_asked_for():
    assert [texts(parcel) for parcel in board(50, 50, 50, lanes=32).deal(["a"], 2).values()] == [50]


def test_what_a_lost_worker_held_comes_before_everything_else():
    made = board(*[8] * 6, lanes=8)
    made.deal(["a", "b"], 2)
    assert [unit.id for unit in made.lost("a")] == ["0", "1"]
    assert list(made.waiting) == ["0", "1", "4", "5"]


def test_of_two_answers_the_first_counts():
    made = board(8, 8)
    made.deal(["a"], 1)
    assert [unit.id for unit in made.copy("b", ["a"])] == ["0", "1"]
    assert made.copy("c", ["a"]) == []  # b is in time
    assert made.done("b", ["0", "1"]) == ["0", "1"]
    assert made.done("a", ["0", "1"]) == []


def test_where_all_who_hold_it_are_late_another_draws_it_too():
    made = board(8)
    made.deal(["a"], 1)
    made.copy("b", ["a"])
    assert [unit.id for unit in made.copy("c", ["a", "b"])] == ["0"]
    assert made.done("c", ["0"]) == ["0"]


def test_nobody_who_is_idle_gets_nothing():
    """As after all workers were lost, until the next has loaded its models."""
    assert board(8).deal([], 0) == {}


def test_what_another_holds_too_is_not_orphaned():
    made = board(8, 8)
    made.deal(["a"], 1)
    made.copy("b", ["a"])
    assert made.lost("a") == []
    assert [unit.id for unit in made.lost("b")] == ["0", "1"]


def test_what_nobody_wants_is_not_dealt_again():
    made = board(8, 8, 8, lanes=8)
    made.deal(["a"], 1)
    made.drop(["0", "1", "2"])
    assert made.deal(["b"], 2) == {}
    assert made.lost("a") == []
    assert made.done("a", ["0"]) == []


WORKERS = ["a", "b", "c"]
EVENTS = st.lists(st.tuples(st.sampled_from(["deal", "done", "lost", "copy"]), st.sampled_from(WORKERS)), max_size=60)


@given(st.lists(st.integers(1, 9), max_size=12), EVENTS, st.integers(1, 20))
def test_every_unit_is_answered_once_whatever_happens(sizes, events, lanes):
    made, answered = board(*sizes, lanes=lanes), []
    busy: dict[str, list[str]] = {}

    def deal(worker: str) -> None:
        if worker not in busy and (parcel := made.deal([worker], len(WORKERS)).get(worker)):
            busy[worker] = [unit.id for unit in parcel]

    for event, worker in events:
        if event == "deal":
            deal(worker)
        elif event == "done" and worker in busy:
            answered += made.done(worker, busy.pop(worker))
        elif event == "lost" and worker in busy:
            made.lost(worker)
            busy.pop(worker)
        elif event == "copy" and worker not in busy:
            late = next(iter(busy), None)
            if late and (parcel := made.copy(worker, [late])):
                busy[worker] = [unit.id for unit in parcel]
    while busy or made.waiting:
        for worker in WORKERS:
            deal(worker)
            if worker in busy:
                answered += made.done(worker, busy.pop(worker))
    assert sorted(answered) == sorted(str(i) for i in range(len(sizes)))
