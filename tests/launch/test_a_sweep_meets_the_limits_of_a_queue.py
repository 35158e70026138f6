"""On a cluster with limits, where jobs are preempted and vanish, the same command brings a sweep to its end."""

from collections import Counter

from sweep_on_a_queue import Fate, Limits, simulated

LIMITS = Limits(queued=25, array=8, nodes=10)


def test_every_run_ends_within_the_limits_and_none_is_submitted_twice(tmp_path):
    with simulated(60, LIMITS, Fate(), tmp_path) as cluster:
        story = cluster.run(most_turns=500)
        assert Counter(run.state for run in cluster.runs) == {"done": 60}
        # The sweep met the limits, and what the simulation does to jobs happened to it.
        assert story.jobs == LIMITS.queued and story.longest == LIMITS.array
        assert story.preempted > 0 and story.vanished > 0 and story.commands > 1
        # A folder has a further job only where one has vanished.
        assert not story.doubles and not story.after_the_end
        folders = {folder.name for folder in (*cluster.shared, *cluster.by_folder)}
        assert story.submitted.keys() == folders and len(cluster.shared) == 15
        assert story.submitted.total() == len(folders) + story.vanished
        assert story.started.total() == story.submitted.total() + story.preempted


def test_runs_start_after_their_stage_where_no_job_vanishes(tmp_path):
    with simulated(12, Limits(queued=9, array=4, nodes=3), Fate(vanished=0), tmp_path, seed=1) as cluster:
        story = cluster.run(most_turns=200)
        assert not story.early and story.preempted > 0
        assert set(story.submitted.values()) == {1}
