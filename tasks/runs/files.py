"""The names of the files in a run's folder."""

TRACKING_FILE = "tracking.json"
FACTS_FILE = "facts.json"
CORPUS_FILE = "corpus.txt"
DIFF_FILE = "code.diff"
RESULT_FILE = "result.json"
REPORT_FILE = "report.md"
PLOT_FILES = ("loss.png", "perplexity.png")
# Written when MLflow has all that the run will ever have.
PUBLISHED_FILE = "published"
