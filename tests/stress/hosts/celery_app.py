"""A Celery application whose tasks call an API; its broker is a directory."""

import os
import time

import worker
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

folder = os.environ["BROKER_FOLDER"]
app = Celery("celery_app", broker="filesystem://", backend=f"file://{folder}/results")
app.conf.broker_transport_options = {
    "data_folder_in": f"{folder}/queue",
    "data_folder_out": f"{folder}/queue",
    "control_folder": f"{folder}/control",
}
app.conf.worker_prefetch_multiplier = 1


@app.task
def call():
    """Call the API."""
    result = worker.call()
    time.sleep(0.03)
    return result


@app.task(soft_time_limit=1)
def insist():
    """Request a new token, in a call that may take a second."""
    try:
        return worker.keeper.get_token("api", force_refresh=True)
    except SoftTimeLimitExceeded:
        return "interrupted"
