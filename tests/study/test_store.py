"""Who may answer, who is given which pairs, and that a vote counts once and is kept."""

import csv
import io
import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import sample
from sample import answer, bytes_of

from steer.study.plan import Question
from steer.study.store import FILE, HELD, Annotator, ClosedError, HeldError, Place, Store, fresh, hashed
from steer.study.votes import COLUMNS, as_csv, as_jsonl, exported

ONE = (Question(name="better", asks="Which is better?"),)


def joined(store: Store, group: str = "expert") -> Annotator:
    return store.join(store.invite(group))[0]


def pairs_of(store: Store, annotator: Annotator) -> set[str]:
    """That an annotator was given, gold aside."""
    rows = store._rows("SELECT pair FROM showings WHERE annotator = ?", annotator.number)
    return {pair for (pair,) in rows} - {pair.id for pair in store.study.gold}


def folder_of(store: Store) -> Path:
    return Path(store._rows("PRAGMA database_list")[0][2]).parent


def finish(store: Store, annotator: Annotator) -> None:
    while store.progress(annotator.number).step:
        assert answer(store, annotator)


# -- who may answer ----------------------------------------------------------------------------------------------------


def test_an_invitation_has_so_many_seats(opened):
    store = opened(sample.study())
    secret = store.invite("expert", 2)
    first, second = store.join(secret), store.join(secret)
    assert [one.group for one, _ in (first, second)] == ["expert", "expert"]
    assert first[0] != second[0]
    assert store.annotator(first[1]) == first[0]
    assert store.annotator(second[1]) == second[0]
    with pytest.raises(ClosedError, match="has been used"):
        store.join(secret)
    assert [(one.group, one.seats, one.used) for one in store.invitations()] == [("expert", 2, 2)]


@pytest.mark.parametrize("wrong", ["", "x", fresh(), "\x00", "é", "\ud800", "x" * 100_000])
def test_a_secret_that_was_not_given_opens_nothing(opened, wrong):
    store = opened(sample.study())
    joined(store)
    with pytest.raises(ClosedError, match="not valid"):
        store.join(wrong)
    assert store.invitation(wrong) is None
    assert store.annotator(wrong) is None


def test_neither_an_invitation_nor_an_annotator_opens_what_the_other_does(opened):
    store = opened(sample.study())
    invitation = store.invite("expert", 2)
    _, secret = store.join(invitation)
    assert store.annotator(invitation) is None
    assert store.invitation(secret) is None


def test_nobody_joins_by_a_revoked_invitation_and_who_joined_goes_on(opened):
    store = opened(sample.study())
    kept, gone = store.invite("expert", 9), store.invite("expert", 9)
    annotator, secret = store.join(gone)
    store.revoke(store.invitation(gone).number)
    with pytest.raises(ClosedError, match="not valid"):
        store.join(gone)
    assert store.annotator(secret) == annotator
    assert answer(store, annotator)
    assert store.join(kept)
    assert [one.revoked for one in store.invitations()] == [False, True]


# -- who is given which pairs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pairs", "annotators", "each"), [(10, 3, 4), (7, 2, 50), (5, 1, 2), (6, 4, 6)])
def test_each_pair_goes_to_so_many_of_each_group_and_no_more(opened, pairs, annotators, each):
    store = opened(sample.study(pairs, annotators=annotators, per_annotator=each))
    ids = [pair.id for pair in store.study.asked]
    for group in ("expert", "lay"):
        had: Counter[str] = Counter()
        while sum(had.values()) < pairs * annotators:
            given = pairs_of(store, joined(store, group))
            assert len(given) == min(each, sum(had[one] < annotators for one in ids))
            had.update(given)
            assert max(had[one] for one in ids) - min(had[one] for one in ids) <= 1
        assert had == dict.fromkeys(ids, annotators)
        with pytest.raises(HeldError):
            joined(store, group)
        for annotator, _ in store.annotators():
            finish(store, annotator)
        with pytest.raises(ClosedError, match="all the answers it needs from your group"):
            joined(store, group)
    assert store.invitations()[-1].used == 0  # who could not join has taken no seat


def test_pairs_of_who_left_are_given_to_others_but_not_those_they_answered(opened, clock):
    store = opened(sample.study(4, gold=0, annotators=1, repeats=0))
    left = joined(store)
    answered = {store.progress(left.number).step.showing.pair}
    assert answer(store, left)
    assert answer(store, left)
    clock.forward(HELD - 1)
    with pytest.raises(HeldError, match="is with others just now"):
        joined(store)
    clock.forward(1)
    other = joined(store)
    assert pairs_of(store, other) == pairs_of(store, left) - answered
    assert len(pairs_of(store, other)) == 3


def test_a_pair_with_an_answer_missing_is_given_to_others(opened, clock):
    store = opened(sample.study(4, gold=0, annotators=1, repeats=0))
    left = joined(store)
    assert answer(store, left)  # one of its two questions
    clock.forward(HELD)
    assert pairs_of(store, joined(store)) == pairs_of(store, left)


def test_a_vote_holds_an_annotators_pairs_anew(opened, clock):
    store = opened(sample.study(4, gold=0, annotators=1, repeats=0))
    slow = joined(store)
    clock.forward(HELD - 1)
    assert answer(store, slow)
    clock.forward(HELD - 1)
    with pytest.raises(ClosedError):
        joined(store)


def test_a_pair_whose_answer_was_taken_back_is_not_answered(opened, clock):
    store = opened(sample.study(3, gold=0, annotators=1, repeats=0, questions=ONE))
    left = joined(store)
    assert answer(store, left)
    assert store.undo(left.number, store.progress(left.number).last)
    clock.forward(HELD)
    assert pairs_of(store, joined(store)) == pairs_of(store, left)


def test_who_answered_everything_holds_it_for_good(opened, clock):
    store = opened(sample.study(3, annotators=1))
    finish(store, joined(store))
    for _ in range(2):
        with pytest.raises(ClosedError, match="all the answers it needs"):
            joined(store)
        clock.forward(1000 * HELD)


# -- answering ---------------------------------------------------------------------------------------------------------


def test_an_annotator_is_asked_every_question_of_every_showing_in_order(opened):
    store = opened(sample.study(4, gold=1, repeats=2))
    annotator = joined(store)
    total = (4 + 1 + 2) * 2
    asked = []
    while step := (progress := store.progress(annotator.number)).step:
        assert (progress.done, progress.total) == (len(asked), total)
        asked.append((step.number, step.showing.pair, step.question))
        assert answer(store, annotator)
    assert [number for number, _, _ in asked] == list(range(total))
    assert [question for _, _, question in asked] == [0, 1] * 7
    assert [pair for _, pair, _ in asked[::2]] == [pair for _, pair, _ in asked[1::2]]
    assert sorted(Counter(pair for _, pair, _ in asked).values()) == [2, 2, 2, 4, 4]
    assert store.progress(annotator.number).done == total


def test_the_winner_is_the_text_that_stood_where_was_chosen(opened):
    store = opened(sample.study(6, repeats=3))
    annotator, rng, chosen = joined(store), random.Random(0), []
    while store.progress(annotator.number).step:
        chosen.append(rng.choice(["first", "second", "neither"]))
        assert answer(store, annotator, chosen[-1])
    votes = store.votes()
    exchanged = {"a": "b", "b": "a"}
    winners = [
        {"first": vote.first, "second": exchanged[vote.first], "neither": "tie"}[place]
        for vote, place in zip(votes, chosen, strict=True)
    ]
    assert [vote.winner for vote in votes] == winners
    assert {vote.first for vote in votes} == {"a", "b"}


def test_a_vote_that_comes_again_counts_once(opened):
    store = opened(sample.study())
    annotator = joined(store)
    assert store.vote(annotator.number, 0, 0, "first", 2.0)
    before = store.votes()
    assert not store.vote(annotator.number, 0, 0, "first", 2.0)
    assert not store.vote(annotator.number, 0, 0, "second", 2.0)
    assert store.votes() == before
    assert len(before) == 1
    assert store.progress(annotator.number).step.number == 1


def test_an_answer_contradicts_what_stands_of_its_question_and_not_itself(opened):
    store = opened(sample.study())
    annotator = joined(store).number

    def contradicts(attempt: int) -> list[Place]:
        return [place for place in get_args(Place) if store.contradicts(annotator, 0, attempt, place)]

    assert contradicts(0) == []
    store.vote(annotator, 0, 0, "first", 2.0)
    assert contradicts(0) == ["second", "neither"]
    store.undo(annotator, store.progress(annotator).last)
    assert contradicts(0) == contradicts(1) == []  # it is asked again
    store.vote(annotator, 0, 1, "second", 2.0)
    assert contradicts(0) == ["second", "neither"]  # the first comes again, late
    assert contradicts(1) == ["first", "neither"]
    assert contradicts(2) == []


def test_a_vote_sent_again_after_it_was_taken_back_does_not_count(opened):
    store = opened(sample.study())
    annotator = joined(store)
    assert store.vote(annotator.number, 0, 0, "first", 2.0)
    assert store.undo(annotator.number, store.progress(annotator.number).last)
    assert not store.vote(annotator.number, 0, 0, "first", 2.0)
    assert store.votes() == []
    step = store.progress(annotator.number).step
    assert (step.number, step.attempt) == (0, 1)
    assert store.vote(annotator.number, 0, 1, "second", 2.0)
    assert len(store.votes()) == 1


def test_a_vote_for_an_attempt_that_was_not_asked_for_does_not_count(opened):
    store = opened(sample.study())
    annotator = joined(store)
    for attempt in (-1, 1, 2):
        assert not store.vote(annotator.number, 0, attempt, "first", 2.0)
    assert store.votes() == []


def test_only_the_last_answer_can_be_taken_back(opened):
    store = opened(sample.study())
    annotator = joined(store)
    numbers = []
    for _ in range(3):
        assert answer(store, annotator)
        numbers.append(store.progress(annotator.number).last)
    assert not store.undo(annotator.number, numbers[0])
    assert not store.undo(annotator.number, numbers[1])
    assert len(store.votes()) == 3
    assert store.undo(annotator.number, numbers[2])
    assert not store.undo(annotator.number, numbers[2])  # sent twice
    assert len(store.votes()) == 2
    assert store.undo(annotator.number, numbers[1])  # the one before it is the last now
    assert store.progress(annotator.number).last == numbers[0]
    assert store.progress(annotator.number).step.number == 1


def test_nobody_takes_back_the_answer_of_another(opened):
    store = opened(sample.study())
    one, other = joined(store), joined(store)
    assert answer(store, one)
    assert answer(store, other)
    last = store.progress(one.number).last
    assert not store.undo(other.number, last)
    assert store.progress(one.number).last == last


def test_undone_and_voted_again_and_again_one_vote_stands_and_all_are_kept(opened):
    store = opened(sample.study())
    annotator = joined(store)
    for attempt in range(5):
        assert store.vote(annotator.number, 0, attempt, "first", 2.0)
        if attempt < 4:
            assert store.undo(annotator.number, store.progress(annotator.number).last)
    assert len(store.votes()) == 1
    assert store._rows("SELECT count(*), count(undone) FROM votes") == [(5, 4)]


# -- the file ----------------------------------------------------------------------------------------------------------


def test_what_was_stored_is_there_when_the_file_is_opened_again(opened, clock):
    store = opened(sample.study())
    annotator, secret = store.join(store.invite("expert"))
    assert answer(store, annotator)
    assert answer(store, annotator, "neither")
    folder, votes, progress = folder_of(store), store.votes(), store.progress(annotator.number)
    beside = Store(folder, store.study, clock)  # while the first is open, as after a kill
    assert beside.votes() == votes
    assert beside.progress(annotator.number) == progress
    assert beside.annotator(secret) == annotator
    beside.close()


def test_a_vote_is_flushed_to_the_disk_before_it_is_acknowledged(opened):
    store = opened(sample.study())
    assert store._rows("PRAGMA synchronous") == [(2,)]  # FULL: an fsync at the end of every transaction
    assert store._rows("PRAGMA journal_mode") == [("wal",)]


def test_the_secrets_of_links_are_not_in_the_file(opened):
    store = opened(sample.study())
    invitations = [store.invite("expert", 2) for _ in range(3)]
    annotators = [store.join(secret)[1] for secret in invitations]
    content = bytes_of(folder_of(store))
    assert (folder_of(store) / f"{FILE}-wal").stat().st_size > 0
    for secret in (*invitations, *annotators):
        assert hashed(secret) in content  # so these are the bytes in which a secret would be
        assert secret.encode() not in content


def test_the_votes_of_another_study_are_refused(opened, clock):
    store = opened(sample.study())
    joined(store)
    other = sample.study(prompt="One word more.")
    with pytest.raises(ValueError, match=r"votes\.sqlite is of another study, which people have begun: choose another"):
        Store(folder_of(store), other, clock)
    Store(folder_of(store), store.study, clock).close()


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / FILE).write_bytes(b"annotator,pair,winner\n" * 100)
    with pytest.raises(ValueError, match=r"votes\.sqlite cannot be read: file is not a database"):
        Store(tmp_path, sample.study())


# -- many at once ------------------------------------------------------------------------------------------------------


def together(count: int, one: Callable[[int], None]) -> None:
    """In so many threads that begin at the same moment; what fails in one fails here."""
    barrier, failed = threading.Barrier(count), []

    def run(i: int) -> None:
        try:
            barrier.wait(30)
            one(i)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_eight_threads_vote_and_every_vote_is_stored_once(opened):
    store = opened(sample.study(10, annotators=8))
    annotators = [joined(store) for _ in range(8)]
    together(8, lambda i: finish(store, annotators[i]))
    votes = store.votes()
    assert len(votes) == 8 * 2 * (10 + 1 + 3)
    assert len({(vote.annotator, vote.pair, vote.question, vote.repeat) for vote in votes}) == len(votes)


def test_of_eight_equal_votes_at_once_one_counts(opened):
    store = opened(sample.study())
    annotator, counted = joined(store), []
    for step in range(10):
        together(8, lambda i, step=step: counted.append(store.vote(annotator.number, step, 0, "first", 2.0)))
    assert Counter(counted) == {True: 10, False: 70}
    assert len(store.votes()) == 10


def test_of_eight_who_join_at_once_by_a_link_for_three_three_do(opened):
    store = opened(sample.study(annotators=8))
    secret, found = store.invite("expert", 3), []

    def join(_: int) -> None:
        try:
            found.append(store.join(secret)[0].number)
        except ClosedError:
            found.append(None)

    together(8, join)
    assert found.count(None) == 5
    assert len(set(found) - {None}) == 3


def test_processes_share_a_file(opened, clock):
    # Two connections to one file, as of two servers of the same study.
    store = opened(sample.study(annotators=2))
    beside = Store(folder_of(store), store.study, clock)
    one, other = joined(store), joined(beside)
    together(2, lambda i: finish((store, beside)[i], (one, other)[i]))
    assert store.votes() == beside.votes()
    assert Counter(vote.annotator for vote in store.votes()) == dict.fromkeys(
        (one.name, other.name), store.progress(one.number).total
    )
    beside.close()


# -- exports -----------------------------------------------------------------------------------------------------------


def test_an_export_has_the_columns_it_says_and_no_text(opened):
    store = opened(sample.study(4, gold=1, repeats=1))
    finish(store, joined(store))
    finish(store, joined(store, "lay"))
    rows = exported(store.study, store.votes())
    assert [tuple(row) for row in rows] == [COLUMNS] * len(rows)
    assert len(rows) == 2 * 2 * (4 + 1 + 1)
    assert {row["gold"] for row in rows if row["pair"] == "zg000"} == {True}
    assert {(row["a"], row["b"]) for row in rows if not row["gold"]} == {sample.SETS}
    assert {row["time"] for row in rows} == {"2025-06-15T15:06:40+00:00"}
    for written in (as_csv(rows), as_jsonl(rows)):
        assert not any(text in written for pair in store.study.pairs for text in (pair.a.text, pair.b.text))
    assert [json.loads(line) for line in as_jsonl(rows).splitlines()] == rows
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert read == [{name: str(value) for name, value in row.items()} for row in rows]
