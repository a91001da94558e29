"""The step `sample generation`: texts of the trained model, greedy and at each temperature and top-k."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from minigpt.checkpoints.format import load_checkpoint
from minigpt.data.tokens import open_tokens
from minigpt.evaluation.contamination import passages_with_copy_fraction
from minigpt.evaluation.memorization import COPY_DISTINCT_TOKENS, COPY_TOKENS, longest_copy
from minigpt.generation.generate import complete_prompt
from minigpt.generation.prepare import prepare_for_generation
from minigpt.generation.sampling import Sampler, table_samplers
from minigpt.runtime.environment import apply_environment
from minigpt.training.job import TrainingJob
from tasks.runs.result import FinalSamples, TableSample
from tasks.steps.training import Trained

# The search for copies holds the training tokens in memory and scans them once per sampled token.
COPY_SEARCH_MAX_TOKENS = 20_000_000


@task(name="sample generation", cache_policy=NO_CACHE, retries=0)
def generate_samples(trained: Trained, job: TrainingJob) -> FinalSamples:
    """Generate a long greedy sample, and one for each temperature and top-k from its own random stream.

    Measure the greedy sample's longest copy from the training text, if that text is short enough to search.
    """
    apply_environment(job.config.environment)
    model, tokenizer = load_checkpoint(trained.checkpoint)
    prepare_for_generation(model)
    config = job.config.sampling
    [greedy] = complete_prompt(model, tokenizer, config.prompt, [Sampler()], config.last_new_tokens)
    draws = table_samplers(config, job.config.seed)
    texts = complete_prompt(model, tokenizer, config.prompt, draws, config.max_new_tokens) if draws else []
    table = tuple(TableSample(draw.temperature, draw.top_k, text) for draw, text in zip(draws, texts, strict=True))
    training_tokens = open_tokens(job.tokens_folder / "train.bin")
    copied = share = None
    if len(training_tokens) <= COPY_SEARCH_MAX_TOKENS:
        written = tokenizer.encode(greedy.removeprefix(config.prompt))
        copied = longest_copy(written, training_tokens)
        if copied >= COPY_TOKENS:
            validation_tokens = open_tokens(job.tokens_folder / "val.bin")
            share = passages_with_copy_fraction(
                validation_tokens, training_tokens, len(written), copied, COPY_DISTINCT_TOKENS
            )
    return FinalSamples(greedy, table, copied, share)
