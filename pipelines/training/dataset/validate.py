"""Step 2: refuses data that would teach the wrong thing (D1.2).

Each message names the expected and the found. pandera checks the schema: types, nulls, ranges and
unique ids. Then come checks across tables:

- Labels belong to the right requests.
- No label is older than its request (leakage).
- Nearly all labels are there.
- All labels together are as the task wants them.
"""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from dojo.core.categories import MAX_CATEGORY_LENGTH
from dojo.core.events.columns import UTC_MICROSECONDS
from dojo.core.labels import latest_labels, standing_for, weights_of
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import task_of
from feature_repo import catalog
from pipelines.training.dataset.collect import Manifest
from pipelines.training.errors import InvalidDataError


def validate(
    requests: pl.DataFrame, outcomes: pl.DataFrame, manifest: Manifest, spec: ModelSpec
) -> None:
    """Check the collected data.

    Args:
        requests: Lake rows of the events behind the model's requests.
        outcomes: Outcomes of every model. Only those of the spec's model are checked.
        manifest: What was pinned.
        spec: The model's spec.

    Raises:
        InvalidDataError: It has one line for each fault.
    """
    # Training learns only from the latest label of a request. So an earlier, corrected label
    # is no fault.
    outcomes = latest_labels(outcomes.filter(pl.col("model") == spec.name))
    recorded = catalog.recorded_requests(spec.feature_service)
    faults = schema_faults(recorded.stream, request_schema(spec), requests) + schema_faults(
        "outcomes", outcome_schema(spec), outcomes.drop_nulls("label")
    )
    # With a broken schema, the checks of labels would only report its consequences.
    if faults := faults or label_faults(
        requests.rename({recorded.key: "request_id"}), outcomes, manifest, spec
    ):
        raise InvalidDataError(faults)


def outcome_schema(spec: ModelSpec) -> pa.DataFrameSchema:
    """Return the schema of outcomes, with the label values of the model's task.

    In pandera, a column is required and free of nulls by default.
    """
    values = task_of(spec).label_values
    known = (
        pa.Check.isin(list(values.allowed))
        if values.allowed
        else pa.Check.in_range(values.low, values.high)
    )
    return pa.DataFrameSchema(
        {
            "request_id": pa.Column(pl.String),
            "request_time": pa.Column(UTC_MICROSECONDS),
            "label": pa.Column(pl.Float64, known),
            "world_time": pa.Column(UTC_MICROSECONDS),
        }
    )


def request_schema(spec: ModelSpec) -> pa.DataFrameSchema:
    """Return the schema of requests: unique ids, present keys, inputs in the catalogue's bounds."""
    request = catalog.SERVICES[spec.feature_service].request
    return pa.DataFrameSchema(
        {
            catalog.recorded_requests(spec.feature_service).key: pa.Column(pl.String, unique=True),
            **{
                catalog.ENTITY_KEYS[e]: pa.Column(pl.String, pa.Check.str_length(min_value=1))
                for e in spec.entities
            },
            "world_time": pa.Column(UTC_MICROSECONDS),
            **{
                one.name: pa.Column(
                    pl.Float64,
                    pa.Check.in_range(
                        *one.bounds, error=catalog.bounds_of(spec.feature_service, one.name)
                    ),
                )
                for one in request.inputs
                if not one.is_category
            },
            **{
                name: pa.Column(
                    pl.String,
                    pa.Check.str_length(max_value=MAX_CATEGORY_LENGTH),
                    nullable=True,  # in files from before the column
                )
                for name in request.categories
            },
        }
    )


def schema_faults(table: str, schema: pa.DataFrameSchema, frame: pl.DataFrame) -> list[str]:
    """Return one line per broken rule, with its column, rule, number of rows and one example."""
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        broken = error.failure_cases.group_by("column", "check", maintain_order=True).agg(
            pl.len().alias("rows"),
            pl.col("failure_case").first().alias("example"),
            pl.col("schema_context").first(),
        )
        return [_describe(table, row) for row in broken.iter_rows(named=True)]
    return []


def _describe(table: str, row: dict[str, object]) -> str:
    column, check = row["column"] or row["example"], str(row["check"])
    if check == "column_in_dataframe":
        return f"{table}.{row['example']}: expected this column, found none"
    if check.startswith("dtype"):
        return f"{table}.{column}: expected {check.removeprefix('dtype')}, found {row['example']}"
    expected = {"not_nullable": "no missing values", "field_uniqueness": "unique values"}.get(
        check, check
    )
    return (
        f"{table}.{column}: expected {expected}, found {row['example']!r} (rows: {row['rows']:,})"
    )


def label_faults(
    requests: pl.DataFrame, outcomes: pl.DataFrame, manifest: Manifest, spec: ModelSpec
) -> list[str]:
    """Return the faults of the examples' labels."""
    faults = []
    early = outcomes.filter(pl.col("world_time") < pl.col("request_time"))
    if len(early):
        row = early.row(0, named=True)
        faults.append(
            "outcomes.world_time: expected labels to arrive after their request, found"
            f" {len(early):,} from before it (leakage), e.g. {row['request_id']}: made"
            f" {row['request_time']}, labelled {row['world_time']}"
        )
    joined = requests.join(outcomes, on="request_id", how="left", suffix="_outcome")
    mismatched = joined.filter(pl.col("request_time") != pl.col("world_time"))
    if len(mismatched):
        row = mismatched.row(0, named=True)
        faults.append(
            f"outcomes.request_time: expected the request's own time, found {len(mismatched):,}"
            f" others, e.g. {row['request_id']}: made {row['world_time']}, outcome says"
            f" {row['request_time']}"
        )
    examples = joined.filter(pl.col("world_time") >= manifest.start)
    # A null label has arrived as well. It says that the label will never be known.
    missing = examples["request_time"].null_count() / max(len(examples), 1)
    allowed = spec.training.checks.unlabelled
    if missing > allowed:
        faults.append(
            f"outcomes: expected a label for at least {100 * (1 - allowed):g}% of the"
            f" {len(examples):,} examples by {manifest.as_of} (spec: training.checks.unlabelled),"
            f" found {1 - missing:.2%}"
        )
    known = examples.drop_nulls("label")
    task = task_of(spec)
    rows = standing_for(task.stands_for(weights_of(known)), len(known))
    return faults + task.label_faults(known["label"].to_numpy()[rows])
