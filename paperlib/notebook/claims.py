"""Claims of the papers as data, and what our runs measured of them.

A claim stands in ``data/claims/*.yaml``: where the paper makes it, what it reports and where we
read that, the quantity we measure, and the check, fixed before the measurement. A notebook calls
`measure`, which writes the values to ``<folder>/claims/<id>.json``; everything else about the
outcome follows from the values and the claim as it stands now. The check must hold in all of the
95 % interval that was measured, or, of several draws without one, in Student's interval of their
mean; of a single value in that value. A claim that compares two may say how much must be at
stake for that, such as what real images gain over the opponent: where there is nothing to win, who
wins says nothing. But who loses by more than that has lost, whatever was at stake.

Status of a claim:

- ``reproduced``: profile paper, on the paper's data set as published and with its model where the
  claim names models, and the check holds;
- ``scaled-down``: any other profile, data or model, or a claim of ours that extends the paper's,
  and the check holds;
- ``disagrees``: the check does not hold;
- ``undecided``: it holds in a part of the interval only, or whether anything is at stake is open;
- ``no stake``: the whole 95 % interval of the stake lies under what the claim asks for;
- ``not run``: there is no measurement;
- ``no status``: profile smoke, which measures too little, or sizes were changed.

`paperlib.notebook.outcomes` says an outcome in words; `paperlib.runs.scorecard` shows them all.
"""

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, SupportsFloat, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    ValidationError,
    model_validator,
)

from paperlib import paths
from paperlib.files import FileError, read_yaml, write_files
from paperlib.names import PROFILES, notebooks

Status = Literal[
    *("reproduced", "scaled-down", "disagrees"),
    *("no stake", "undecided", "not run", "no status"),
]
Profile = Literal[PROFILES]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Model = TypeVar("Model", bound=BaseModel)


class Record(BaseModel):
    """Read-only, no unknown fields, nothing converted: "0.5" is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Check(Record):
    """What must hold of what was measured: ``op`` `value`, or within `tolerance` of `value`."""

    op: Literal[">", "<", ">=", "<=", "within"]
    value: FiniteFloat
    tolerance: Annotated[FiniteFloat, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _tolerance_only_within(self) -> "Check":
        if (self.op == "within") != (self.tolerance is not None):
            raise ValueError("tolerance goes with op 'within', and only with it")
        return self

    def holds(self, measured: float) -> bool:
        """Whether `measured` passes."""
        if self.op == "within":
            return abs(measured - self.value) <= self.tolerance
        if self.op in (">=", "<=") and measured == self.value:
            return True
        return measured > self.value if self.op[0] == ">" else measured < self.value

    def decided(self, low: float, high: float) -> bool:
        """Whether all from `low` to `high` passes, or none of it."""
        if self.op == "within" and not (self.holds(low) and self.holds(high)):
            return high < self.value - self.tolerance or low > self.value + self.tolerance
        return self.holds(low) == self.holds(high)

    def __str__(self) -> str:
        if self.op == "within":
            return f"{self.value:g} ± {self.tolerance:g}"
        return f"{self.op.replace('>=', '≥').replace('<=', '≤')} {self.value:g}"


class Claim(Record):
    """One measurable claim of a paper.

    Attributes:
        id: short name, such as freq-5-rank.
        paper: authors, year and a short title.
        where: section, table or abstract; says so where the claim extends the paper's.
        statement: the claim in one sentence.
        reported: the paper's own value in `unit`, or None.
        source: where `reported` was read, or why there is none.
        quantity: what we measure, in words.
        unit: of `reported`, the check and the measurement.
        check: what must hold.
        stake: what must be at stake at least, in `unit`; None where the claim compares nothing.
        dataset: the paper's data set; on any other no result counts as reproduced.
        models: the paper's; with any other no result counts as reproduced. Empty where the claim
            is not about one model.
        notebook: the notebook that measures it.
        profiles: in which it does; smoke measures what default does.
    """

    id: Id
    paper: Text
    where: Text
    statement: Text
    reported: FiniteFloat | None
    source: Text
    quantity: Text
    unit: Text
    check: Check
    stake: Annotated[FiniteFloat, Field(gt=0)] | None = None
    dataset: Text
    models: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    notebook: Annotated[str, StringConstraints(pattern=r"^\d\d_[a-z0-9_]+$")]
    profiles: Annotated[tuple[Profile, ...], Field(min_length=1, strict=False)] = PROFILES

    @property
    def ours(self) -> bool:
        """Whether it extends the paper's, which cannot be reproduced then; `where` says so."""
        return "extension" in self.where

    def lost(self, measured: "Measurement") -> bool:
        """Whether the whole interval fails by more than must be at stake."""
        ends = measured.ends
        if not ends or not self.stake or self.check.op == "within":
            return False
        away = self.stake if self.check.op[0] == ">" else -self.stake
        easier = self.check.model_copy(update={"value": self.check.value - away})
        return not any(map(easier.holds, ends))

    def status(self, measured: "Measurement") -> Status:
        """Status of a measurement."""
        if measured.changed or measured.profile == "smoke":
            return "no status"
        if self.stake and measured.stake and not self.lost(measured):
            low, high = measured.stake
            if high < self.stake:
                return "no stake"
            if low < self.stake:
                return "undecided"
        if (ends := measured.ends) and not self.check.decided(*ends):
            return "undecided"
        if not self.check.holds(measured.mean):
            return "disagrees"
        same_data = measured.dataset == self.dataset and not measured.altered
        same_model = not self.models or measured.model in self.models
        at_scale = measured.profile == "paper" and same_data and same_model
        return "reproduced" if at_scale and not self.ours else "scaled-down"


class Measurement(Record):
    """What one notebook run measured of one claim.

    Attributes:
        claim: id of the claim.
        values: one for every draw, in the claim's unit, to 6 significant digits.
        profile, dataset, seed: parameters of the run.
        altered: what was done to the published data, such as "JPEG"; empty if nothing was.
        scale: how much was measured, such as "200 images, 3 seeds".
        source: where the data came from, in words.
        model: that was measured, as the claim's `models` name it; may be empty.
        note: what a reader must know beside the number; may be empty.
        changed: sizes that are not those of the profile, such as "images=20"; empty if none.
        interval: ends of the 95 % interval of the mean, in the claim's unit, or None.
        over: what was resampled for it, such as "variants"; empty without an interval.
        stake: ends of the 95 % interval of what is at stake, in the claim's unit, or None.
    """

    claim: Id
    values: Annotated[tuple[FiniteFloat, ...], Field(min_length=1, strict=False)]
    profile: Profile
    dataset: Text
    altered: str
    seed: Annotated[int, Field(ge=0)]
    scale: Text
    source: Text
    model: str = ""
    note: str
    changed: str = ""
    interval: Annotated[tuple[FiniteFloat, FiniteFloat], Field(strict=False)] | None = None
    over: str = ""
    stake: Annotated[tuple[FiniteFloat, FiniteFloat], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _an_interval_is_over_something(self) -> "Measurement":
        if (self.interval is None) != (not self.over):
            raise ValueError("an interval needs what it is over, and only an interval does")
        if self.interval and self.interval[0] > self.interval[1]:
            raise ValueError("an interval begins with its lower end")
        if self.stake and self.stake[0] > self.stake[1]:
            raise ValueError("the interval of the stake begins with its lower end")
        return self

    @property
    def mean(self) -> float:
        """Mean over the draws."""
        return _six_digits(statistics.fmean(self.values))

    @property
    def std(self) -> float | None:
        """Standard deviation over the draws (n - 1); None for one draw."""
        return _six_digits(statistics.stdev(self.values)) if len(self.values) > 1 else None

    @property
    def ends(self) -> tuple[float, float] | None:
        """The 95 % interval: as measured, else Student's over the draws; None for one draw."""
        if self.interval or len(self.values) < 2:
            return self.interval
        from paperlib.intervals import student  # SciPy, which planning does without

        low, high = student(self.values)
        return _six_digits(low), _six_digits(high)


def _parse(model: type[Model], fields: Any, file: str) -> Model:
    """Validate `fields`; a failure names the file and every wrong field."""
    if not isinstance(fields, dict):
        raise FileError(f"{file}: expected fields with values, found {type(fields).__name__}")
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise FileError(f"{file}: {problems(error, 'fields')}") from None


def problems(error: ValidationError, whole: str) -> str:
    """Every wrong field in one sentence; `whole` is the name of what holds them."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or whole}: {problem['msg']}"
        for problem in error.errors()
    )


def load_claims(folder: Path | None = None) -> dict[str, Claim]:
    """Every claim by id, in the order of the files' names and of the rows in them.

    Args:
        folder: where the ``*.yaml`` are; the project's ``data/claims`` if None.

    Raises:
        FileError: no file; not YAML; a field is missing, unknown or wrong; an id stands twice;
            there is no such notebook.
    """
    folder = folder or paths.CLAIMS
    claims: dict[str, Claim] = {}
    there = notebooks()
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise FileError(f"{folder}: no claims (*.yaml) here")
    for file in files:
        content = read_yaml(file)
        if not isinstance(content, dict) or not isinstance(content.get("claims"), list):
            raise FileError(f"{file}: claims: expected a list of claims under this field")
        shared = {key: value for key, value in content.items() if key != "claims"}
        for number, row in enumerate(content["claims"], 1):
            row = row if isinstance(row, dict) else {}
            claim = _parse(Claim, shared | row, f"{file}: claim {row.get('id', number)}")
            if claim.id in claims:
                raise FileError(f"{file}: claim {claim.id}: id: stands twice")
            if claim.notebook not in there:
                missing = f"there is no notebooks/{claim.notebook}.py"
                raise FileError(f"{file}: claim {claim.id}: notebook: {missing}")
            claims[claim.id] = claim
    return claims


def measure(
    claim_id: str,
    values: Iterable[SupportsFloat],
    *,
    profile: str,
    dataset: str,
    seed: int,
    scale: str,
    source: str,
    folder: Path,
    altered: str = "",
    model: str = "",
    note: str = "",
    changed: str = "",
    interval: tuple[SupportsFloat, SupportsFloat] | None = None,
    over: str = "",
    stake: tuple[SupportsFloat, SupportsFloat] | None = None,
) -> Measurement:
    """Write what was measured of a claim to ``folder/claims/<claim_id>.json``.

    Args:
        claim_id: id of the claim.
        values: the measured quantity for every draw, in the claim's unit.
        profile, dataset, seed: parameters of the run.
        scale: how much was measured, such as "200 images, 3 seeds".
        source: where the data came from, in words.
        folder: the run's folder for this notebook.
        altered: what was done to the published data; empty if nothing was.
        model: that was measured; empty if the claim names none.
        note: what a reader must know beside the number.
        changed: sizes that are not those of the profile.
        interval, over, stake: see `Measurement`.

    Raises:
        FileError: unknown `claim_id`; no value or one that is not finite; another wrong field.
    """
    file = folder / "claims" / f"{claim_id}.json"
    _claim(claim_id, load_claims(), str(file))
    fields = {
        "claim": claim_id,
        "values": tuple(_six_digits(value) for value in values),
        "profile": profile,
        "dataset": dataset,
        "altered": altered,
        "seed": seed,
        "scale": scale,
        "source": source,
        "model": model,
        "note": note,
        "changed": changed,
        "interval": interval and tuple(_six_digits(end) for end in interval),
        "over": over,
        "stake": stake and tuple(_six_digits(end) for end in stake),
    }
    measurement = _parse(Measurement, fields, str(file))
    text = json.dumps(
        measurement.model_dump(mode="json", exclude_defaults=True), indent=2, ensure_ascii=False
    )
    write_files({file: f"{text}\n".encode()})
    return measurement


def load_measurement(file: Path, claims: dict[str, Claim]) -> Measurement:
    """Read and check what `measure` wrote.

    Raises:
        FileError: not JSON; a wrong field; an unknown claim.
    """
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileError(f"{file}: not a measurement: {error}") from None
    measurement = _parse(Measurement, fields, str(file))
    _claim(measurement.claim, claims, str(file))
    return measurement


def load_measurements(
    folders: Iterable[Path], claims: dict[str, Claim]
) -> dict[tuple[str, str], Measurement]:
    """Every measurement at or below `folders`, by claim id and profile.

    Raises:
        FileError: a measurement is wrong, or a claim was measured twice in one profile.
    """
    found: dict[tuple[str, str], Measurement] = {}
    files: dict[tuple[str, str], Path] = {}
    for folder in folders:
        for file in sorted(folder.glob("**/claims/*.json")):
            measurement = load_measurement(file, claims)
            key = (measurement.claim, measurement.profile)
            if key in found:
                raise FileError(
                    f"{file}: claim: {key[0]} was measured in profile {key[1]} in {files[key]} "
                    "too; name the folder of one run"
                )
            found[key], files[key] = measurement, file
    return found


def _six_digits(value: SupportsFloat) -> float:
    return float(f"{float(value):.6g}")


def _claim(claim_id: str, claims: dict[str, Claim], file: str) -> Claim:
    if claim_id not in claims:
        raise FileError(
            f"{file}: claim: unknown id {claim_id!r}; valid are {', '.join(claims)}: add it to a "
            "file of data/claims"
        )
    return claims[claim_id]
