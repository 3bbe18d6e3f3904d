"""Evaluate trained models on labelled reviews: one checkpoint, or an ensemble of several.

python -m sentiment.evaluate checkpoint=RUN                      # its own test set
python -m sentiment.evaluate checkpoint=[RUN1,RUN2,RUN3]         # an ensemble averages probabilities
python -m sentiment.evaluate checkpoint=RUN data=files data.path=reviews.csv    # another file
python -m sentiment.evaluate checkpoint=RUN data=imdb data.path=DIR

RUN is a run directory or a checkpoint. A folder and IMDB are evaluated on their test set, a single
file on all rows, or on the held-out ones if the model was trained on it. A copy of a file counts as
another file, but copies of training reviews are counted. What says how to read files can be set:
path, text_column, label_column, id_column, labels, empty, header, separator, encoding,
encoding_errors, text_per, test_fraction and split_seed; the rest is part of the checkpoint.
"""

import logging
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sentiment.runtime.cli import exit_with_error
from sentiment.runtime.config import parse_overrides
from sentiment.runtime.hydra_app import run_hydra_app
from sentiment.runtime.run_folder import RunFolder


def job(cfg: DictConfig) -> None:
    from sentiment.analysis.evaluation import evaluate

    output = RunFolder(cfg.output_dir)
    overrides = parse_overrides(HydraConfig.get().overrides.task)
    with output.claim(), output.log_to("evaluate.log"):
        evaluate(cfg, [override.key_or_group for override in overrides])


def main() -> None:
    logging.raiseExceptions = False  # a closed pipe is not worth a message
    if len(sys.argv) > 1 and Path(sys.argv[1]).exists():
        exit_with_error(f"{sys.argv[1]}: did you mean checkpoint={sys.argv[1]}?")
    run_hydra_app(job, "evaluate", __doc__)


if __name__ == "__main__":
    main()
