"""job.json: what is written is what is read; what is wrong in it is named."""

from __future__ import annotations

import json

import pytest

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.worker.job import JOB_FILE, Job, Phantom, read_job, write_job


@pytest.mark.parametrize(
    "job",
    [
        Job(),
        Job("C:/Bilder/Müller 1", "fine", "aorta", "cpu", 7, {"flow": {"first_iterations": 3}}, True, 12.5),
        Job(phantom=Phantom("stenosis", {"severity": 0.5, "mean_inflow_ml_s": 2}, images=True)),
    ],
)
def test_a_job_comes_back_as_it_was_written(tmp_path, job):
    folder = tmp_path / "ein Ordner mit Ümlaut"
    write_job(folder, job)
    assert read_job(folder) == job
    assert [p.name for p in folder.iterdir()] == [JOB_FILE]


def test_what_is_not_said_has_its_default(tmp_path):
    (tmp_path / JOB_FILE).write_text('{"schema": 1, "phantom": {"vessel": "bend"}}')
    assert read_job(tmp_path) == Job(phantom=Phantom("bend"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qualty": "fine"}, "unknown key qualty; did you mean quality"),
        ({"seed": "7"}, "seed must be int, not '7'"),
        ({"seed": True}, "seed must be int"),
        ({"seed": -1}, "from 0 up"),
        ({"heartbeat_s": 0}, "heartbeat_s must be above 0"),
        ({"schema": 9}, "schema must be 1"),
        ({"phantom": {"changes": {}}}, "phantom: vessel is missing"),
        ({"phantom": {"vessel": ""}}, "phantom needs a vessel"),
        ({"phantom": "bend"}, "phantom: must be a JSON object"),
        ({"settings": []}, "settings must be dict"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, message):
    (tmp_path / JOB_FILE).write_text(json.dumps({"schema": 1, **change}))
    with pytest.raises(InputError, match=message):
        read_job(tmp_path)


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), ("[]", "must be a JSON object")])
def test_a_file_that_is_no_job_is_refused(tmp_path, text, message):
    (tmp_path / JOB_FILE).write_text(text)
    with pytest.raises(InputError, match=message):
        read_job(tmp_path)


def test_a_folder_without_a_job_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_job(tmp_path)
