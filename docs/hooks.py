"""What ProperDocs calls while it builds: the reference pages join the pages that people wrote."""

import sys
from pathlib import Path

from properdocs.config.defaults import ProperDocsConfig
from properdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.reference.pages import reference_pages


def on_files(files: Files, config: ProperDocsConfig) -> Files:
    for path, text in reference_pages().items():
        files.append(File.generated(config, path, content=text))
    return files
