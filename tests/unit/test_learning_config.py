import pytest
from pydantic import ValidationError

from spark_jobs.config.model import ModelFile

MODEL = {
    "label": {"table": "outcomes", "use": "at_least", "columns": ["delay_min"], "options": {"least": 15}},
    "rows": {"from": "2013-01-01T00:00:00Z"},
    "evaluate": "31d",
    "inputs": {
        "numeric": ["distance_mi"],
        "ids": ["place"],
        "calendar": {"of": "planned_at", "zone": "America/New_York", "parts": ["hour", "weekday", "minute_of_day"]},
        "features": ["outcomes"],
    },
    "estimator": {"use": "xgboost", "options": {"rounds": 20}, "workers": 2, "seed": 13},
    "baselines": {
        "calendar": {"inputs": {"ids": ["place"]}, "options": {"rounds": 5}},
        "one": {"column": "place_share"},
    },
    "register": {"auc_at_least": 0.72, "auc_below": 0.78, "beat": ["calendar", "one"]},
    "promote": {"worse_by_at_most": 0.002},
}


def _model(**changes: object):
    return ModelFile.model_validate({"models": {"late": {**MODEL, **changes}}}).models["late"]


def test_a_whole_model_is_read():
    model = _model()
    assert model.to_register.auc_below == 0.78
    assert model.rows.start is not None
    assert model.baselines["one"].column == "place_share"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"register": {"beat": ["nobody"]}}, "no baselines"),
        ({"register": {"auc_at_least": 0.8, "auc_below": 0.78}}, "no model can pass"),
        ({"metrics": ["log_loss"]}, "auc is missing"),
        ({"evaluate": "24h"}, "longer than the label's maturity"),
        ({"inputs": {}}, "no inputs"),
        (
            {"inputs": {"calendar": {"of": "planned_at", "zone": "Mars/Base", "parts": ["hour"]}}},
            "not an IANA time zone",
        ),
        ({"inputs": {"calendar": {"of": "planned_at", "parts": ["year"]}}}, "minute_of_day"),
        ({"baselines": {"both": {"column": "a", "inputs": {"ids": ["b"]}}}, "register": {}}, "either a simpler model"),
        ({"baselines": {"none": {}}, "register": {}}, "either a simpler model"),
        ({"baselines": {"one": {"column": "a", "options": {"rounds": 3}}}, "register": {}}, "is not trained"),
        ({"estimater": {}}, "Extra inputs are not permitted"),
    ],
)
def test_a_model_that_cannot_work_is_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        _model(**changes)
