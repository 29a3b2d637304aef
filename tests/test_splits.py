"""Who is trained on and who is tested on."""

import json
from collections import Counter
from pathlib import Path

import pytest

from ser_tf.corpora import load_corpus
from ser_tf.corpora.recording import Recording
from ser_tf.emotions import EMOTIONS
from ser_tf.splits import Split, make_split, read_split, without, write_split


def corpus_of(speakers: list[str], clips: int = 4, **traits: str) -> list[Recording]:
    return [
        Recording(Path(f"{emotion}-{speaker}-{clip}.wav"), emotion, speaker, name, traits)
        for speaker in speakers
        for emotion in EMOTIONS
        for clip in range(clips)
        for name in [f"{emotion}-{speaker}-{clip}"]
    ]


def actors() -> list[Recording]:
    return [
        recording
        for actor in range(1, 25)
        for recording in corpus_of([f"actor-{actor:02d}"], gender="fm"[actor % 2])
    ]


def names(recordings: list[Recording]) -> list[str]:
    return [recording.name for recording in recordings]


def speakers(recordings: list[Recording]) -> set[str]:
    return {recording.speaker for recording in recordings}


def assert_deals_all(split: Split, recordings: list[Recording]) -> None:
    parts = split.train + split.validation + split.test
    assert sorted(names(parts)) == sorted(names(recordings))
    for part in (split.train, split.validation, split.test):
        assert names(part) == sorted(names(part))


def test_the_common_split_of_ravdess_is_the_one_others_report_on(real_data: Path) -> None:
    from sklearn.model_selection import train_test_split

    recordings = load_corpus(real_data / "ravdess")
    split = make_split(recordings, "common")
    assert len(split.train) + len(split.validation) == 1961
    assert len(split.test) == 491
    assert_deals_all(split, recordings)
    _, test = train_test_split(
        sorted(recording.path.stem for recording in recordings),
        test_size=0.2,
        stratify=[r.emotion for r in sorted(recordings, key=lambda r: r.path.stem)],
        random_state=42,
    )
    assert sorted(test) == names(split.test)


def test_the_folds_of_ravdess_hold_out_each_actor_once(real_data: Path) -> None:
    recordings = load_corpus(real_data / "ravdess")
    tested: list[str] = []
    for fold, held_out in enumerate(
        (
            (2, 5, 14, 15, 16),
            (3, 6, 7, 13, 18),
            (10, 11, 12, 19, 20),
            (8, 17, 21, 23, 24),
            (1, 4, 9, 22),
        )
    ):
        split = make_split(recordings, f"actors:{fold}")
        assert speakers(split.test) == {f"actor-{actor:02d}" for actor in held_out}
        assert_deals_all(split, recordings)
        tested += names(split.test)
    assert sorted(tested) == names(recordings)


@pytest.mark.parametrize("spec", ["common", "actors:0", "actors:4", "all"])
def test_every_recording_stands_in_one_part(spec: str) -> None:
    recordings = actors()
    split = make_split(recordings, spec)
    assert split.name == spec
    assert_deals_all(split, recordings)
    assert split.validation
    assert bool(split.test) == (spec != "all")


def test_no_actor_stands_on_two_sides() -> None:
    for fold in range(5):
        split = make_split(actors(), f"actors:{fold}")
        parts = [speakers(part) for part in (split.train, split.validation, split.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 24


def test_actors_for_validation_are_a_man_and_a_woman() -> None:
    for seed in range(10):
        split = make_split(actors(), "actors:1", seed=seed)
        genders = {(r.speaker, r.traits["gender"]) for r in split.validation}
        assert sorted(gender for _, gender in genders) == ["f", "m"]


def test_the_seed_moves_the_validation_part_and_never_the_test_part() -> None:
    for spec in ("common", "actors:2"):
        one, same, other = (make_split(actors(), spec, seed=seed) for seed in (1, 1, 2))
        assert one == same
        assert names(one.test) == names(other.test)
        assert names(one.validation) != names(other.validation)


def test_the_order_of_the_recordings_does_not_matter() -> None:
    recordings = actors()
    for spec in ("common", "actors:0"):
        assert make_split(recordings, spec) == make_split(recordings[::-1], spec)


def test_the_common_split_keeps_the_shares_of_the_emotions() -> None:
    split = make_split(actors(), "common")
    for part in (split.train, split.validation, split.test):
        counts = Counter(recording.emotion for recording in part)
        assert set(counts) == set(EMOTIONS)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_validation_may_be_left_out() -> None:
    for spec in ("common", "actors:0", "all"):
        assert make_split(actors(), spec, validation=0).validation == []


def test_speakers_of_another_corpus_are_dealt_into_five_folds() -> None:
    recordings = corpus_of([f"voice-{number}" for number in range(12)])
    dealt = [speakers(make_split(recordings, f"actors:{fold}").test) for fold in range(5)]
    assert sorted(map(len, dealt)) == [2, 2, 2, 3, 3]
    assert len(set.union(*dealt)) == 12


def test_few_speakers_make_few_folds() -> None:
    recordings = corpus_of(["a", "b", "c"])
    assert len(speakers(make_split(recordings, "actors:2").test)) == 1
    with pytest.raises(ValueError, match="folds 0 to 2"):
        make_split(recordings, "actors:3")


@pytest.mark.parametrize(
    ("recordings", "spec", "why"),
    [
        (actors(), "actor:0", "none of common"),
        (actors(), "actors", "none of common"),
        (actors(), "actors:-1", "none of common"),
        (actors(), "actors:5", "folds 0 to 4"),
        (corpus_of(["a", ""]), "actors:0", "speaker of 32 recordings is not known, such as"),
        (corpus_of(["a"]), "actors:0", "every speaker"),
        (corpus_of(["actor-01"]), "actors:0", "no speaker"),
        (corpus_of(["a", "b"]), "actors:0", "at least three speakers"),
        (corpus_of(["a"], clips=1), "common", "'angry' only 1, are too few"),
        (corpus_of(["a"], clips=2), "common", "too few to set 4 aside"),
        ([], "common", "too few"),
    ],
)
def test_an_impossible_split_is_one_clear_line(
    recordings: list[Recording], spec: str, why: str
) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        make_split(recordings, spec)
    assert str(caught.value).startswith(f"split '{spec}': ")
    assert "\n" not in str(caught.value)


def test_a_share_for_validation_is_checked() -> None:
    with pytest.raises(ValueError, match="below 1"):
        make_split(actors(), "common", validation=1.0)


def test_a_split_file_gives_the_split_back(tmp_path: Path) -> None:
    split = make_split(actors(), "actors:3")
    write_split(split, tmp_path / "split.json")
    assert read_split(tmp_path / "split.json", actors()) == split
    assert sorted(path.name for path in tmp_path.iterdir()) == ["split.json"]
    content = json.loads((tmp_path / "split.json").read_text())
    assert list(content) == ["name", "train", "validation", "test"]
    assert content["test"] == names(split.test)


def test_a_split_file_of_another_corpus_is_refused(tmp_path: Path) -> None:
    write_split(make_split(actors(), "common"), tmp_path / "split.json")
    gone = actors()[1:]
    with pytest.raises(ValueError, match=r"1 of its 768 recordings .* neutral-actor-01-0"):
        read_split(tmp_path / "split.json", gone)


def test_the_recordings_that_are_left_stand_where_they_stood() -> None:
    split = make_split(actors(), "common")
    left = without(split, ("disgust", "calm"))
    assert left.name == split.name
    for part in ("train", "validation", "test"):
        before, after = getattr(split, part), getattr(left, part)
        assert after == [r for r in before if r.emotion not in ("disgust", "calm")]
        assert 0 < len(after) < len(before)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "not JSON"),
        ("[]", "no name"),
        ('{"name": "common", "train": ["a"], "validation": []}', "under 'test'"),
        ('{"name": "common", "train": "a", "validation": [], "test": []}', "under 'train'"),
        ('{"name": "common", "train": ["a"], "validation": [], "test": ["a"]}', "a twice"),
    ],
)
def test_a_file_that_is_no_split_is_refused(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(ValueError, match=why):
        read_split(tmp_path / "split.json", actors())
    with pytest.raises(ValueError, match="No such file"):
        read_split(tmp_path / "none.json", actors())
