"""Judges finished windows and the present state. Each judgement is written before the next one."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import get_args

from redis import Redis

from dojo.core.events.types import Check, Verdict
from dojo.core.judging.drift import Measurements, confirm
from dojo.core.lake import Lake
from dojo.core.spec.monitoring import Confirmations
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.freshness import read_freshness
from dojo.core.state.skew import latest_skew
from dojo.core.tasks.specs import task_of
from services.monitor.checks import freshness_checks as present
from services.monitor.checks import performance_checks as labelled
from services.monitor.checks.label_checks import days_due, missing_by_day
from services.monitor.counting.profiles import Profiles
from services.monitor.counting.state import DAYS_KEPT, NO_VERSION, Key, MonitorMemory, Store
from services.monitor.counting.windows import LENGTH, Kind, floor
from services.monitor.judging.due import due_windows, silent_windows
from services.monitor.judging.records import Judged, MonitorRecords, WindowKey, judgement
from services.monitor.judging.severity import (
    LOOK_BACK,
    MeasuredBefore,
    WindowUnderTest,
    judge_window,
)
from services.monitor.judging.traffic import answered, most_traffic, with_traffic
from services.monitor.judging.verdicts import VerdictWindow, make_verdict
from services.monitor.serving import ServingVersions
from services.monitor.showing.gauges import Gauges

KINDS: tuple[Kind, ...] = get_args(Kind)

# Looks in a row that must agree about states without windows. At demo speed, a streamer's pause of
# a second is forty world minutes.
LOOKS = Confirmations(needed=3, of=3)

# Maximum age of a day's start when its skew is measured. The measurement runs in the following
# night, or a day later if the materializer had to wait for features. After that it never comes.
SKEW_EXPECTED = timedelta(days=3)

# Pseudo-versions in the record of judged windows.
LABELS, DUE, PERFORMANCE, SKEW = "@labels", "@due", "@performance", "@skew"


class Judging:
    """Judges one monitor's memory.

    Args:
        views: Model -> view -> freshness SLA.
    """

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        views: Mapping[str, Mapping[str, timedelta]],
        redis: Redis,
        store: Store,
        records: MonitorRecords,
        lake: Lake,
        profiles: Profiles,
        serving: ServingVersions,
        gauges: Gauges,
    ) -> None:
        self._specs, self._views = specs, views
        self._redis, self._store, self._records, self._lake = redis, store, records, lake
        self._profiles, self._serving, self._gauges = profiles, serving, gauges
        self.reset()

    def reset(self) -> None:
        """Forget everything. `load` restores it."""
        self._judged: dict[WindowKey, int] = {}
        self._latest: dict[str, dict[tuple[Check, str, str], Verdict]] = {}
        self._memory = MeasuredBefore()
        self._looks: dict[str, deque[Measurements]] = {}
        self._due_looked: dict[str, datetime] = {}

    def load(self) -> None:
        self.reset()
        self._judged = self._records.judged()
        for model, spec in self._specs.items():
            self._latest[model] = self._records.latest(model)
            self._gauges.begin(spec, self._latest[model].values())
            for check, window in {(check, window) for check, window, _ in self._latest[model]}:
                rows = self._records.history(model, check, window)
                # The row of the newest window, as in `Gauges.show`. The row written last may belong
                # to an old window.
                if rows:
                    self._gauges.restore(
                        spec, check, window, max(rows, key=lambda row: (row.start, row.rows))
                    )
            for kind in KINDS:
                of = {
                    spot: rows
                    for spot, rows in self._judged.items()
                    if spot[0] == model and spot[2] == kind and not spot[1].startswith("@")
                }
                # Without this, dashboards and rules would not know the progress for up to a day.
                if of:
                    newest = max(spot[3] for spot in of)
                    self._gauges.judged(
                        spec,
                        kind,
                        newest,
                        sum(rows for spot, rows in of.items() if spot[3] == newest),
                    )

    def windows(self, known: MonitorMemory, now: datetime) -> int:
        """Judge every finished window.

        Args:
            known: The memory with all events before `now` counted.

        Returns:
            The number of judged windows.
        """
        count = 0
        for model, spec in self._specs.items():
            for kind in KINDS:
                due = due_windows(known, self._judged, model, kind, now, spec.drift.lateness)
                for start, keys in due:
                    self._window(known, spec, kind, start, keys, now)
                    count += 1
                count += self._labels(known, spec, kind, now)
            count += self._missing_labels(known, spec, now)
            self._forget(model, known, now)
        return count

    def performance(self, known: MonitorMemory, now: datetime) -> int:
        """Judge the labelled answers of the newest finished day, once.

        Older days are not judged again. Labels that arrive later do not change what was known then.

        Raises:
            OSError: The lake cannot be read.
            polars.exceptions.PolarsError: The lake cannot be read.
        """
        count = 0
        for model, spec in self._specs.items():
            day = floor(now - spec.drift.lateness, "day") - LENGTH["day"]
            spot: WindowKey = (model, PERFORMANCE, "day", day)
            complete = floor(day - spec.label.delay.maximum, "day")
            # Only if the monitor already watched the model then.
            watched = [key for key in known.profiles if key[0] == model]
            if spot in self._judged or not any(
                answered(known, key, at, spec) for key in watched for at in (day, complete)
            ):
                continue
            biased = labelled.early_labels_are_biased(self._lake, spec, day + LENGTH["day"])
            newest = complete if biased else day
            versions = [key for key in watched if answered(known, key, newest, spec)]
            profiles = {key[1]: known.profiles[key] for key in versions}
            read = labelled.read(
                self._lake, spec, profiles, newest + LENGTH["day"], day + LENGTH["day"]
            )
            done = []
            judged_versions = with_traffic(known, versions, newest)
            for key in versions:
                live, profile = read[key[1]], known.profiles[key]
                self._gauges.performance(
                    key, live.all, profile, known.window(key, "day", day), task_of(spec)
                )
                if key not in judged_versions:
                    # Its figures change as labels arrive. An alert on a version without traffic
                    # would ring until its window ends.
                    continue
                for check, measured in labelled.labelled_checks(
                    live, profile, spec, biased
                ).items():
                    done.append(
                        self._judge(
                            spec, key[1], check, "day", day, now, [measured], live.all.rows, None
                        )
                    )
            self._write(spec, done, [(spot, 1)])
            count += 1
        return count

    def present(self, known: MonitorMemory, now: datetime) -> None:
        """Judge states without windows: freshness of features and models, and the latest skew."""
        recorded = read_freshness(self._redis)
        self._gauges.freshness(recorded, now)
        for model, spec in self._specs.items():
            serving = self._serving.of(model)
            self._gauges.roles(model, None if model in self._serving.away else serving)
            version = serving.version if serving is not None else most_traffic(known, model)
            fresh = present.feature_freshness(recorded, self._views[model], spec, now)
            age = present.model_freshness(
                serving.trained_as_of if serving is not None else None, spec, now
            )
            hour = floor(now, "hour")
            done = [self._judge(spec, version, "model_freshness", "now", hour, now, [age], 1, None)]
            looks = self._looks.setdefault(model, deque(maxlen=LOOKS.of))
            looks.append(fresh)
            # With fewer looks there is no verdict, neither of a stale view nor of a fresh one.
            if len(looks) == LOOKS.of:
                done.append(
                    self._judge(
                        spec,
                        version,
                        "feature_freshness",
                        "now",
                        hour,
                        now,
                        list(looks),
                        len(fresh),
                        LOOKS,
                    )
                )
            spots: list[tuple[WindowKey, int]] = []
            measurement = latest_skew(self._redis, model).get()
            if measurement is not None:
                overdue = now - measurement.day > SKEW_EXPECTED
                day, sampled = (
                    (floor(now, "day") - LENGTH["day"], 0)
                    if overdue
                    else (measurement.day, measurement.sampled)
                )
                spot: WindowKey = (model, SKEW, "day", day)
                if self._judged.get(spot) != sampled:
                    found = (
                        present.overdue_skew(measurement, spec)
                        if overdue
                        else present.skew(measurement, spec)
                    )
                    done.append(
                        self._judge(spec, version, "skew", "day", day, now, [found], sampled, None)
                    )
                    spots.append((spot, sampled))
            # Most looks repeat the result of the look before in the same hour, and are not written.
            self._write(spec, [one for one in done if not self._is_known(one.verdict)], spots)
            self._gauges.show(
                spec, [one for one in done if not one.late], self._latest[model].values()
            )

    def _window(
        self,
        known: MonitorMemory,
        spec: ModelSpec,
        kind: Kind,
        start: datetime,
        keys: Sequence[Key],
        now: datetime,
    ) -> None:
        done, spots = [], []
        for key in keys:
            spots.append(((*key, kind, start), known.rows(key, kind, start)))
            if key[1] == NO_VERSION:
                continue  # the spec's fallback is not a model
            previous = {
                check: verdict
                for (check, of, version), verdict in self._latest[spec.name].items()
                if of == kind and version == key[1]
            }
            late = {check for check, verdict in previous.items() if verdict.window_start > start}
            before = {check: verdict for check, verdict in previous.items() if check not in late}
            judged = judge_window(
                WindowUnderTest(spec, key, kind, start, now),
                known,
                self._memory,
                before,
                self._profiles.why.get(key, ""),
            )
            done += [
                judgement(v, measured, before.get(v.check), late=v.check in late)
                for v, measured in judged
            ]
        self._write(spec, done, spots)
        self._gauges.judged(
            spec,
            kind,
            start,
            sum(known.rows(key, kind, start) for key in known.hours if key[0] == spec.name),
        )

    def _labels(self, known: MonitorMemory, spec: ModelSpec, kind: Kind, now: datetime) -> int:
        count = 0
        arrived = {floor(hour, kind) for hour in known.label_hours.get(spec.name, {})}
        for start in sorted(arrived | set(silent_windows(arrived, kind, now, spec.drift.lateness))):
            labels, spot = known.labels(spec.name, kind, start), (spec.name, LABELS, kind, start)
            if (
                start + LENGTH[kind] + spec.drift.lateness > now
                or self._judged.get(spot) == labels.rows
            ):
                continue
            rule = spec.drift.hourly if kind == "hour" else spec.drift.daily
            earlier = [
                known.labels(spec.name, kind, start - LENGTH[kind] * back)
                for back in range(LOOK_BACK[kind], 0, -1)
            ]
            enough = [window for window in earlier if window.rows >= spec.drift.minimum_rows]
            history = [
                present.label_delay(window, spec) for window in (*enough[-rule.of :], labels)
            ]
            version = most_traffic(known, spec.name)
            done = self._judge(
                spec, version, "label_delay", kind, start, now, history, labels.rows, rule
            )
            self._write(spec, [done], [(spot, labels.rows)])
            count += 1
        return count

    def _missing_labels(self, known: MonitorMemory, spec: ModelSpec, now: datetime) -> int:
        """Judge each finished day with enough due labels, also if none arrived.

        Looks once per world hour.
        """
        hour = floor(now, "hour")
        if self._due_looked.get(spec.name) == hour:
            return 0
        self._due_looked[spec.name] = hour
        model, rule, length = spec.name, spec.drift.daily, LENGTH["day"]
        last = floor(now - spec.drift.lateness, "day") - length
        judged = LOOK_BACK["day"] + rule.of
        days = [
            last - length * age for age in range(judged + days_due(spec.label.delay))
        ]  # newest first
        answers = [
            sum(known.rows(key, "day", day) for key in known.versions(model)) for day in days
        ]
        found = missing_by_day(
            [known.labels(model, "day", day).rows for day in days[:judged]], answers, spec
        )
        count = 0
        for age in range(LOOK_BACK["day"] - 1, -1, -1):
            labels, spot = found[age]["labels"], (model, DUE, "day", days[age])
            day_before = (model, DUE, "day", days[age + 1])
            # A day with too few due labels gets a verdict only if the day before was judged. It
            # replaces the last verdict, which would otherwise stand for that day too.
            if self._judged.get(spot) == labels.rows or (
                labels.value is None and day_before not in self._judged
            ):
                continue
            history = found[age : age + rule.of][::-1]
            version = most_traffic(known, model)
            done = self._judge(
                spec, version, "labels_missing", "day", days[age], now, history, labels.rows, rule
            )
            self._write(spec, [done], [(spot, labels.rows)])
            count += 1
        return count

    def _judge(
        self,
        spec: ModelSpec,
        version: str,
        check: Check,
        window: VerdictWindow,
        start: datetime,
        now: datetime,
        history: Sequence[Measurements],
        rows: int,
        rule: Confirmations | None,
    ) -> Judged:
        """Judge a check that does not belong to one version's window.

        Args:
            history: Measurements, oldest first. The last entry is judged.
        """
        measured, findings = history[-1], confirm(history, rule)
        enough = any(m.value is not None for m in measured.values())
        latest = self._latest[spec.name]
        # Compare all versions. The verdict names the version with most traffic, which may change.
        late = any(
            at[:2] == (check, window) and verdict.window_start > start
            for at, verdict in latest.items()
        )
        previous = None if late else latest.get((check, window, version))
        verdict = make_verdict(
            model=spec.name, version=version, check=check, window=window, start=start, now=now,
            findings=findings, rows=rows,
            since=None, previous=previous, without="" if enough else _why_nothing(measured),
            essential=task_of(spec).essential if check == "performance" else frozenset(),
        )  # fmt: skip
        return judgement(verdict, measured, previous, late)

    def _is_known(self, verdict: Verdict) -> bool:
        latest = self._latest[verdict.model].get((verdict.check, verdict.window, verdict.version))
        return latest is not None and latest.event_id == verdict.event_id

    def _write(
        self, spec: ModelSpec, done: Sequence[Judged], spots: Sequence[tuple[WindowKey, int]]
    ) -> None:
        self._store.write(lambda pipe: self._records.write(pipe, done, spots))
        self._judged.update(spots)
        current = [one for one in done if not one.late]
        for one in current:
            verdict = one.verdict
            self._latest[spec.name][verdict.check, verdict.window, verdict.version] = verdict
        self._gauges.told(current)
        self._gauges.show(spec, current, self._latest[spec.name].values())

    def _forget(self, model: str, known: MonitorMemory, now: datetime) -> None:
        """Forget records of windows and versions that no longer exist."""
        oldest = now - DAYS_KEPT - LENGTH["day"]
        spots = [spot for spot in self._judged if spot[0] == model and spot[3] < oldest]
        versions = {key[1] for key in {*known.hours, *known.days} if key[0] == model}
        gone = [
            verdict
            for verdict in self._latest[model].values()
            if verdict.version not in versions and verdict.window_start < now - timedelta(days=7)
        ]
        if spots or gone:
            self._records.forget(spots, gone)
            for spot in spots:
                del self._judged[spot]
            for verdict in gone:
                del self._latest[model][verdict.check, verdict.window, verdict.version]
                self._gauges.forget_version((model, verdict.version))
        self._memory.trim(now - timedelta(days=30))


def _why_nothing(measured: Measurements) -> str:
    """Return why a check has no value, in the words of its first subject."""
    return next((m.note for m in measured.values() if m.note), "nothing was measured")
