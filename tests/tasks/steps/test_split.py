"""A text that is too short: what the refusal offers is taken as it is and works."""

import re
from pathlib import Path

import pytest

from minigpt.data.config import CorpusConfig, SplitConfig, TokenizerConfig
from minigpt.errors import InputError
from minigpt.training.config import TrainingConfig
from tasks.steps.corpus import download_corpus
from tasks.steps.split import split_windows
from tasks.steps.tokenization import tokenize

TEXT = "".join(f"{n} green bottles hanging on the wall, {n} of them\n" for n in range(40))


@pytest.mark.parametrize(("context_length", "batch_size"), [(256, 2), (64, 16), (100, 4)])
def test_what_the_refusal_of_a_short_text_offers_works(
    context_length: int, batch_size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path / "home"))
    (tmp_path / "text.txt").write_text(TEXT)
    corpus = download_corpus.fn(CorpusConfig(source=str(tmp_path / "text.txt")))
    training = TrainingConfig(batch_size=batch_size, max_steps=10, warmup_steps=1)

    def split(fraction: float, length: int) -> int:
        config = SplitConfig(validation_fraction=fraction)
        tokens = tokenize.fn(corpus, config, TokenizerConfig(vocabulary_size=280))
        return split_windows.fn(tokens, config, training, length).train_windows

    with pytest.raises(InputError, match=r"this text is long enough with split\.validation_fraction=[^\n]*$") as error:
        split(0.05, context_length)
    [fraction] = re.findall(r"validation_fraction=([\d.]+)", str(error.value))
    [length] = re.findall(r"context_length=(\d+)", str(error.value)) or [str(context_length)]
    assert split(float(fraction), int(length)) >= batch_size
