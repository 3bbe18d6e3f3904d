"""Look at labelled reviews before training: copies, doubtful labels, words that give the label away.

python -m sentiment.audit data=files data.path=reviews.csv data.text_column=review
python -m sentiment.audit data=imdb data.path=DIR hydra.run.dir=FOLDER    # a new or empty folder
python -m sentiment.train data=files data.path=reviews.csv data.labels_from=FOLDER/audit.csv

The data are read as for training. Linear models judge every label, also of the test set, each fitted
on other rows. The folder gets audit.html, which shows all findings; audit.csv, the labels that the
models contradict, most doubtful first; and copies.csv, the copies and near copies. Write yes into the
column accept of audit.csv where a suggested label is right; data.labels_from then trains on it.
"""

import logging

from omegaconf import DictConfig

from sentiment.runtime.hydra_app import run_hydra_app
from sentiment.runtime.run_folder import RunFolder


def job(cfg: DictConfig) -> None:
    from sentiment.analysis.audit.audit import audit

    output = RunFolder(cfg.output_dir)
    with output.claim(), output.log_to("audit.log"):
        audit(cfg)


def main() -> None:
    logging.raiseExceptions = False  # a closed pipe is not worth a message
    run_hydra_app(job, "audit", __doc__)


if __name__ == "__main__":
    main()
