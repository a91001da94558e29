"""What is said of the texts that a trained model writes."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from minigpt import checkpoint
from minigpt.cost import Quote
from minigpt.job import JOB, TrainingJob
from tasks.runs import CORPUS
from tasks.sampling import generate_samples
from tasks.training import Trained


def test_a_prompt_from_the_training_text_is_not_counted_as_a_copy(smoke: dict[str, Any]) -> None:
    folder = Path(smoke["run_dir"])
    last = checkpoint.written(folder / "checkpoints", "last")[-1]
    prompt = (folder / CORPUS).read_text()[:35]
    job = TrainingJob.model_validate_json((folder / JOB).read_bytes())
    job = job.model_copy(update={"sampling": job.sampling.model_copy(update={"prompt": prompt, "last_new_tokens": 3})})
    _, tokenizer = checkpoint.load(last)
    assert 3 < len(tokenizer.encode(prompt)) <= job.model.context_length
    trained = Trained(
        status="completed",
        steps=60,
        training_seconds=1.0,
        weights_sha256="",
        checkpoint=last,
        quote=TypeAdapter(Quote).validate_python(smoke["cost"]["quoted"]),
        curve_sent=True,
    )
    samples = generate_samples.fn(trained, job)
    assert samples.greedy.startswith(prompt)
    assert samples.longest_copied_tokens is not None
    assert 0 <= samples.longest_copied_tokens <= 3
