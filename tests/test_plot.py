from __future__ import annotations

import io
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from dlcore import plot
from tests.pictures import faults

DIGITS = tuple("0123456789")


def history(epochs: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "loss": 1 / epoch,
            "accuracy": 1 - 0.5 / epoch,
            "validation_loss": 1.1 / epoch,
            "validation_accuracy": 1 - 0.6 / epoch,
        }
        for epoch in range(1, epochs + 1)
    ]


def layer(function):
    return SimpleNamespace(apply=lambda params, state, x: (function(params, x), state))


def plane(n: int = 60) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (n, 2)).astype(np.float32)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def line_data(figure: Figure) -> dict[tuple[str, str], list[float]]:
    return {
        (axes.get_title(loc="left"), str(line.get_label())): list(line.get_ydata())
        for axes in figure.axes
        for line in axes.lines
    }


class TestCurves:
    def test_draws_what_was_measured(self):
        rows = history(5)
        assert line_data(plot.curves(rows)) == {
            ("Loss", "training"): [row["loss"] for row in rows],
            ("Loss", "validation"): [row["validation_loss"] for row in rows],
            ("Accuracy", "training"): [row["accuracy"] for row in rows],
            ("Accuracy", "validation"): [row["validation_accuracy"] for row in rows],
        }

    def test_regression_has_one_panel(self):
        rows = [
            {"epoch": row["epoch"], "loss": row["loss"], "accuracy": None} for row in history(3)
        ]
        assert list(line_data(plot.curves(rows))) == [("Loss", "training")]

    def test_epochs_without_a_measurement_are_left_out(self):
        rows = history(4)
        del rows[1]["validation_loss"], rows[2]["validation_loss"]
        lines = line_data(plot.curves(rows))
        assert lines["Loss", "validation"] == [
            rows[0]["validation_loss"],
            rows[3]["validation_loss"],
        ]

    def test_one_epoch_is_seen(self):
        figure = plot.curves(history(1))
        figure.draw_without_rendering()
        low, high = figure.axes[0].get_xlim()
        assert [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high] == [1]

    @pytest.mark.parametrize("rows", [[], [{"epoch": 1, "perplexity": 3.0}]])
    def test_nothing_to_draw_is_refused(self, rows):
        with pytest.raises(ValueError, match="curves"):
            plot.curves(rows)


class TestConfusion:
    def test_rows_are_the_true_class(self):
        figure = plot.confusion([[5, 1, 0], [0, 7, 2], [0, 0, 3]], ["a", "b", "c"])
        cells = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
        assert cells == {(0, 0): "5", (1, 0): "1", (1, 1): "7", (2, 1): "2", (2, 2): "3"}
        assert "15 of 18 right (83.33 %)" in texts(figure)
        assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == (
            "predicted class",
            "true class",
        )

    def test_colour_is_the_share_of_the_true_class(self):
        figure = plot.confusion([[90, 10], [1, 1]], ["frequent", "rare"])
        np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[0.9, 0.1], [0.5, 0.5]])

    def test_a_class_without_examples(self):
        figure = plot.confusion([[0, 0], [1, 4]], ["absent", "present"])
        assert np.isfinite(figure.axes[0].images[0].get_array()).all()

    def test_many_classes_have_no_numbers(self):
        assert not plot.confusion(np.eye(40), [f"class {i}" for i in range(40)]).axes[0].texts

    @pytest.mark.parametrize("matrix", [np.eye(3), np.ones((2, 3)), np.ones(2)])
    def test_wrong_shape(self, matrix):
        with pytest.raises(ValueError, match=r"2 classes is \[2, 2\], got"):
            plot.confusion(matrix, ["a", "b"])


class TestMistakes:
    true = np.array([0, 1, 2, 0, 1])
    predicted = np.array([0, 2, 1, 1, 1])
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.3, 0.1, 0.6], [0.0, 0.95, 0.05], [0.3, 0.7, 0.0], [0.0, 1.0, 0.0]]
    )
    images = np.linspace(0, 1, 5 * 16).reshape(5, 4, 4, 1)

    def draw(self, **changes):
        given = {
            "images": self.images,
            "true": self.true,
            "predicted": self.predicted,
            "probabilities": self.probabilities,
            "classes": ["cat", "dog", "cow"],
        }
        return plot.mistakes(**(given | changes))

    def test_the_most_confident_first(self):
        figure = self.draw()
        assert [axes.get_title() for axes in figure.axes if axes.get_title()] == [
            "said dog (95 %)\nis cow (5 %)",
            "said dog (70 %)\nis cat (30 %)",
            "said cow (60 %)\nis dog (10 %)",
        ]
        np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), self.images[2, ..., 0])
        assert "3 mistakes in 5 examples" in texts(figure)

    def test_count(self):
        figure = self.draw(count=2)
        assert len(figure.axes) == 2
        assert "3 mistakes in 5 examples, the 2 most confident" in texts(figure)

    def test_none(self):
        assert texts(self.draw(predicted=self.true)) == ["No mistakes in 5 examples."]

    @pytest.mark.parametrize(
        "changes",
        [
            {"true": true[:4]},
            {"predicted": predicted[:4]},
            {"probabilities": probabilities[:, :2]},
            {"classes": ["cat", "dog"]},
            {"count": 0},
        ],
    )
    def test_wrong_arguments(self, changes):
        with pytest.raises(ValueError, match=r"5 images need labels|at least 1 image, got 0"):
            self.draw(**changes)


class TestImageGrid:
    @pytest.mark.parametrize("shape", [(7, 5, 6), (7, 5, 6, 1), (7, 5, 6, 3)])
    def test_shapes(self, shape):
        images = np.random.default_rng(0).random(shape)
        figure = plot.image_grid(images, DIGITS[:7])
        shown = [axes for axes in figure.axes if axes.images]
        assert [axes.get_title() for axes in shown] == list(DIGITS[:7])
        for axes, image in zip(shown, images, strict=True):
            np.testing.assert_array_equal(np.squeeze(axes.images[0].get_array()), image.squeeze())

    def test_columns(self):
        figure = plot.image_grid(np.zeros((6, 4, 4)), columns=6)
        assert figure.axes[0].get_gridspec().get_geometry() == (1, 6)

    def test_the_same_grey_in_every_image(self):
        """A picture of one grey is not stretched to black or white."""
        figure = plot.image_grid(np.array([[[0.25]], [[0.5]]]), columns=2)
        assert [axes.images[0].get_clim() for axes in figure.axes] == [(0, 1), (0, 1)]

    @pytest.mark.parametrize("shape", [(4, 4), (0, 4, 4), (2, 4, 4, 2), (2, 2, 4, 4, 3)])
    def test_wrong_shape(self, shape):
        with pytest.raises(ValueError, match="image_grid draws images"):
            plot.image_grid(np.zeros(shape))

    def test_wrong_number_of_captions(self):
        with pytest.raises(ValueError, match="2 images need as many captions, got 1"):
            plot.image_grid(np.zeros((2, 4, 4)), ["one"])


class TestMosaic:
    def test_rows_of_images(self):
        images = np.random.default_rng(0).random((5, 3, 4, 1))
        figure = plot.mosaic({"first": images, "second": images[:2]}, top="abcde", title="Title")
        (axes,) = figure.axes
        pixels = np.squeeze(axes.images[0].get_array())
        assert pixels.shape == (2 * 4, 5 * 5)
        np.testing.assert_allclose(pixels[:3, 10:14], images[2, ..., 0], rtol=1e-6)
        np.testing.assert_allclose(pixels[4:7, 5:9], images[1, ..., 0], rtol=1e-6)
        assert (pixels[4:7, 10:] == 1).all()  # where there is none
        assert {"first", "second", "Title", *"abcde"} <= set(texts(figure))
        assert axes.images[0].get_clim() == (0, 1)
        assert faults(figure) == []

    def test_a_square(self):
        (axes,) = plot.mosaic(np.zeros((9, 4, 4, 3))).axes
        assert np.asarray(axes.images[0].get_array()).shape == (15, 15, 3)
        (axes,) = plot.mosaic({"many": np.zeros((6, 4, 4))}, 3).axes
        assert np.asarray(axes.images[0].get_array()).shape[:2] == (10, 15)

    def test_refuses(self):
        with pytest.raises(ValueError, match=r"mosaic draws images .* got \[4, 4\]"):
            plot.mosaic(np.zeros((4, 4)))
        with pytest.raises(ValueError, match="images of one size"):
            plot.mosaic({"a": np.zeros((1, 4, 4)), "b": np.zeros((1, 4, 5))})


class TestScatter:
    def test_classes_of_points(self):
        points, labels = plane(30), np.arange(30) % 3
        figure = plot.scatter({"One": points, "Two": -points}, labels, "xyz", x="first")
        shown = figure.axes[0].collections
        for k, one in enumerate(shown):
            np.testing.assert_allclose(one.get_offsets(), points[labels == k], rtol=1e-6)
        assert texts(figure).count("z") == 3  # in the middle of each map, and in the legend
        assert {"One", "Two", "first"} <= set(texts(figure))

    def test_refuses(self):
        with pytest.raises(ValueError, match=r"'One' has points \[30, 2\], but .* \[29, 2\]"):
            plot.scatter({"One": plane(30)}, np.zeros(29), "x")
        with pytest.raises(ValueError, match="at least one map"):
            plot.scatter({}, [], "x")


class TestDecisionBoundary:
    def background(self, figure: Figure) -> np.ndarray:
        return np.asarray(figure.axes[0].images[0].get_array())

    def test_one_logit(self):
        """Blue (class 0) where x₁ < 0, vermillion (class 1) where x₁ > 0, the line at x₁ = 0."""
        x = plane()
        data = {"x": x, "y": (x[:, 0] > 0).astype(np.int32)}
        figure = plot.decision_boundary(layer(lambda w, x: w * x[:, :1]), 9.0, data, resolution=40)
        red, _, blue = np.moveaxis(self.background(figure), -1, 0)
        assert (blue > red)[:, :19].all()
        assert (red > blue)[:, 21:].all()
        (line,) = {
            round(float(v), 4)
            for contour in figure.axes[0].collections
            if type(contour).__name__ == "QuadContourSet"
            for path in contour.get_paths()
            for v in path.vertices[:, 0]
        }
        assert line == pytest.approx(0, abs=0.01)

    def test_labels_of_minus_one_and_one(self):
        x = plane()
        labels = np.where(x[:, 0] > 0, 1, -1)
        figure = plot.decision_boundary(
            layer(lambda _, x: x[:, 0]), (), {"x": x, "y": labels}, resolution=20
        )
        assert {"y = -1", "y = 1"} <= set(texts(figure))

    def test_as_many_logits_as_classes(self):
        x = plane()
        centers = jnp.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        near = layer(lambda c, x: -9 * jnp.sum(jnp.square(x[:, None] - c), axis=-1))
        labels = np.argmin(((x[:, None] - np.asarray(centers)) ** 2).sum(-1), axis=-1)
        figure = plot.decision_boundary(near, centers, {"x": x, "y": labels}, resolution=40)
        legend = figure.axes[0].get_legend()
        assert [text.get_text() for text in legend.get_texts()] == ["y = 0", "y = 1", "y = 2"]
        image = self.background(figure)
        assert image[5, 0].argmax() == 2  # blue
        assert image[5, -1].argmax() == 0  # vermillion
        assert image[-1, 20].argmax() == 1  # green

    @pytest.mark.parametrize("outputs", [1, 3])
    def test_no_boundary_in_sight(self, outputs):
        certain = layer(
            lambda _, x: jnp.full((len(x), outputs), 3.0) * jnp.arange(1.0, outputs + 1)
        )
        data = {"x": plane(), "y": np.zeros(60, np.int32)}
        assert plot.decision_boundary(certain, (), data, resolution=10).axes

    @pytest.mark.parametrize("shape", [(60,), (60, 1)])
    def test_a_regression_surface(self, shape):
        x = plane()
        data = {"x": x, "y": (x[:, 0] * x[:, 1]).reshape(shape)}
        figure = plot.decision_boundary(
            layer(lambda _, x: jnp.prod(x, axis=1).reshape(-1, *shape[1:])), (), data, resolution=30
        )
        x1, x2 = (np.linspace(*limits, 30) for limits in (
            figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
        ))  # fmt: skip
        np.testing.assert_allclose(self.background(figure), np.outer(x2, x1), atol=1e-6)
        surface, points = figure.axes[0].images[0], figure.axes[0].collections[0]
        assert surface.get_clim() == points.get_clim()

    def test_passes_parameters_and_state_on(self):
        seen = []

        def apply(params, state, x):
            seen.append((params, state, x.dtype, x.shape))
            return x[:, 0], state

        data = {"x": plane(), "y": np.zeros(60, np.float32)}
        spy = SimpleNamespace(apply=apply)
        plot.decision_boundary(spy, {"kernel": 1}, data, state={"mean": 2}, resolution=5)
        assert seen == [({"kernel": 1}, {"mean": 2}, jnp.float32, (25, 2))]

    @pytest.mark.parametrize(
        ("x", "y", "outputs", "message"),
        [
            (np.zeros((4, 3)), np.zeros(4, int), 2, 'got "x"'),
            (np.zeros((4, 2)), np.zeros(3, int), 2, 'got "x"'),
            (np.zeros((0, 2)), np.zeros(0, int), 2, 'got "x"'),
            (np.zeros((4, 2)), np.zeros((4, 2), int), 2, 'got "x"'),
            (np.zeros((4, 2)), np.full(4, 2), 2, r"needs labels in \[0, 1\], got \[2, 2\]"),
            (np.zeros((4, 2)), np.full(4, -1), 2, r"needs labels in \[0, 1\], got \[-1, -1\]"),
            (np.zeros((4, 2)), np.zeros(4), 2, "for classes, give integer labels"),
        ],
    )
    def test_wrong_data(self, x, y, outputs, message):
        zero = layer(lambda _, x: jnp.zeros((len(x), outputs)))
        with pytest.raises(ValueError, match=message):
            plot.decision_boundary(zero, (), {"x": x, "y": y}, resolution=5)

    def test_wrong_resolution(self):
        with pytest.raises(ValueError, match="at least 2 points a side, got 1"):
            plot.decision_boundary(layer(None), (), {"x": plane(), "y": np.zeros(60)}, resolution=1)


def a_surface() -> Figure:
    data = {"x": plane(), "y": plane()[:, 0]}
    return plot.decision_boundary(layer(lambda _, x: jax.nn.tanh(x[:, 0])), (), data, resolution=20)


FIGURES = {
    "curves": lambda: plot.curves(history(5)),
    "confusion": lambda: plot.confusion(np.eye(10, dtype=int) * 90, DIGITS),
    "image_grid": lambda: plot.image_grid(np.linspace(0, 1, 7 * 16).reshape(7, 4, 4), DIGITS[:7]),
    "mistakes": lambda: TestMistakes().draw(),
    "mosaic": lambda: plot.mosaic({"one": np.eye(4)[None], "two": np.ones((3, 4, 4))}),
    "scatter": lambda: plot.scatter({"Points": plane(9)}, np.arange(9) % 3, "abc"),
    "surface": a_surface,
}


@pytest.mark.parametrize("name", FIGURES)
def test_picture(name):
    """The same bytes again and anew, no version in them, and nothing cut off at an edge."""
    figure = FIGURES[name]()
    picture = figure._repr_png_()
    assert picture == figure._repr_png_() == FIGURES[name]()._repr_png_()
    assert b"matplotlib" not in picture.lower()
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all()


def test_save_writes_png_only(tmp_path):
    figure = plot.curves(history(2))
    plot.save(figure, str(tmp_path / "curves.PNG"))
    assert (tmp_path / "curves.PNG").read_bytes() == figure._repr_png_()
    with pytest.raises(ValueError, match=r"got 'curves.pdf': save\(figure, 'curves.png'\)"):
        plot.save(figure, tmp_path / "curves.pdf")


def test_pyplot_stays_out_of_it():
    program = """
import sys
from dlcore import plot
assert "matplotlib" not in sys.modules
plot.curves([{"epoch": 1, "loss": 1.0}])._repr_png_()
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


class TestLines:
    def test_draws_the_series_bands_and_levels_it_is_given(self):
        panels = [
            plot.Panel("Loss", "epoch", "nats", {"a": ([1, 2], [3, 4]), "b": ([1, 2], [5, 6])}),
            plot.Panel(
                "Error",
                "labels",
                "error",
                {"a": ([1, 10], [0.5, 0.25], [0.1, 0.05])},
                log="x",
                percent=True,
                level=("paper", 0.3),
            ),
        ]
        figure = plot.lines(*panels)
        drawn = line_data(figure)
        assert drawn["Loss", "a"] == [3, 4]
        assert drawn["Loss", "b"] == [5, 6]
        assert drawn["Error", "paper"] == [0.3, 0.3]
        loss, error = figure.axes
        assert (loss.get_xscale(), error.get_xscale(), error.get_yscale()) == (
            "linear",
            "log",
            "linear",
        )
        (band,) = error.collections
        heights = band.get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose([heights.min(), heights.max()], [0.2, 0.6])
        assert error.yaxis.get_major_formatter()(0.5) == "50.0 %"

    def test_refuses_nothing_to_draw(self):
        with pytest.raises(ValueError, match="at least one Panel"):
            plot.lines()


class TestBars:
    def test_heights_are_those_given_and_written_above(self):
        groups = {"near": {"frozen": 0.5, "thawed": 0.625}, "far": {"thawed": 0.25}}
        figure = plot.bars(groups, title="Accuracy", y="accuracy", percent=True)
        (axes,) = figure.axes
        heights = [[bar.get_height() for bar in group] for group in axes.containers]
        assert heights == [[0.5], [0.625, 0.25]]
        assert {"50.0 %", "62.5 %", "25.0 %"} <= set(texts(figure))

    def test_refuses_nothing_to_draw(self):
        with pytest.raises(ValueError, match="at least one group"):
            plot.bars({}, title="", y="")


HEAT_MAP_LABELS = {"title": "Accuracy", "x": "rate", "y": "width", "label": "accuracy"}


class TestHeatMap:
    def test_writes_every_number_and_names_the_axes(self):
        figure = plot.heat_map(
            [[0.5, np.nan, 0.25]], [16], [0.1, 1.0, 10.0], percent=True, **HEAT_MAP_LABELS
        )
        assert {"50.0", "–", "25.0"} <= set(texts(figure))
        axes = figure.axes[0]
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.1", "1", "10"]
        assert [tick.get_text() for tick in axes.get_yticklabels()] == ["16"]
        assert axes.images[0].get_clim() == (0.25, 0.5)

    @pytest.mark.parametrize("values", [[[1.0]], [[np.nan, np.nan]]])
    def test_refuses(self, values):
        with pytest.raises(ValueError, match=r"needs finite values \[1, 2\]"):
            plot.heat_map(values, [1], [1, 2], **HEAT_MAP_LABELS)


class TestLabelled:
    def test_every_point_is_there_and_every_name_that_has_room(self):
        apart = {"a": {"left": (0.0, 0.0), "right": (1.0, 0.0)}, "b": {"top": (0.0, 1.0)}}
        figure = plot.labelled(apart, title="Words")
        assert {"left", "right", "top", "a", "b", "Words"} <= set(texts(figure))
        places = [points.get_offsets().tolist() for points in figure.axes[0].collections]
        assert places == [[[0, 0], [1, 0]], [[0, 1]]]
        together = {"a": {f"word{k}": (0.001 * k, 0.0) for k in range(9)}, "b": {"far": (1, 1)}}
        crowded = plot.labelled(together, title="Words")
        assert {"word0", "far"} <= set(texts(crowded))
        assert "word4" not in texts(crowded)
        assert faults(crowded) == []

    def test_refuses_nothing_to_draw(self):
        with pytest.raises(ValueError, match="at least one group with one point"):
            plot.labelled({"a": {}}, title="")


def terrain(**options):
    paths = {"a": np.array([[0, 0], [1, 0], [1, 1]]), "b": np.array([[0, 0], [0, 1], [0, 2]])}
    options = {"paths": paths, "minima": [(1.0, 1.0)]} | options
    return plot.Terrain("Bowl", lambda x: (x**2).sum(-1), ((-1.0, 2.0), (-2.0, 2.0)), **options)


class TestTerrain:
    def test_a_map_has_the_ways_the_minima_and_lines_of_equal_height(self):
        figure = plot.contours(terrain())
        drawn = line_data(figure)
        assert drawn["Bowl", "a"] == [0, 0, 1]
        assert drawn["Bowl", "b"] == [0, 1, 2]
        (axes,) = figure.axes
        assert (axes.get_xlim(), axes.get_ylim()) == ((-1, 2), (-2, 2))
        assert len(axes.collections[0].levels) == 20

    def test_where_a_function_is_not_defined_there_is_no_line(self):
        terrain_ = terrain(paths={})
        half = terrain_._replace(f=lambda x: jnp.where(x[..., 0] > 0, x[..., 0], jnp.nan))
        lines = plot.contours(half).axes[0].collections[0]
        corners = np.concatenate([path.vertices for path in lines.get_paths()])
        assert corners[:, 0].min() > 0

    def test_an_animation_walks_and_is_saved_as_gif(self, tmp_path):
        walk = plot.animation(terrain(), frames=3)
        assert plot.suffix(walk) == ".gif"
        with pytest.raises(ValueError, match=r"save writes GIF, got 'walk\.png'"):
            plot.save(walk, tmp_path / "walk.png")
        plot.save(walk, tmp_path / "walk.gif")
        with Image.open(tmp_path / "walk.gif") as picture:
            assert picture.n_frames >= 3
            first = np.asarray(picture.convert("RGB"))
            picture.seek(2)
            assert (first != np.asarray(picture.convert("RGB"))).any()
        assert line_data(walk._fig)["Bowl", "b"] == [0, 1, 2]

    def test_refuses_ways_of_unequal_length_and_no_terrain(self):
        ways = {"a": np.zeros((3, 2)), "b": np.zeros((2, 2))}
        with pytest.raises(ValueError, match=r"paths of one length .* got lengths \[2, 3\]"):
            plot.animation(terrain(paths=ways))
        with pytest.raises(ValueError, match="at least one Terrain"):
            plot.contours()


# ------------------------------------------------------------------------- what a person would see


def test_a_text_that_leaves_the_picture_or_lies_upon_another_is_found():
    figure = Figure(figsize=(4, 3))
    figure.text(0.1, 0.1, "a text")
    figure.text(0.6, 0.9, "another text")
    assert faults(figure) == []
    figure.text(0.12, 0.11, "upon it")
    figure.text(0.9, 0.5, "it goes on and on")
    assert faults(figure) == ["'it goes on and on' is cut off", "'a text' lies upon 'upon it'"]


def test_slanted_texts_side_by_side_do_not_touch():
    """Though the upright boxes around them do."""
    figure = Figure(figsize=(4, 3))
    for place in (0.3, 0.4):
        figure.text(place, 0.3, "a long slanted text", rotation=45)
    assert faults(figure) == []
    figure.text(0.41, 0.31, "a third upon it", rotation=45)
    assert len(faults(figure)) == 1


def test_a_long_title_takes_several_lines():
    groups = {"a": {"b": 1.0}, "c": {"b": 2.0}}
    figure = plot.bars(groups, title="a title of very many words " * 4, y="height")
    assert faults(figure) == []
    assert "\n" in figure.axes[0].get_title(loc="left")


def test_lines_upon_one_another_are_all_seen_and_the_first_lies_on_top():
    same = ([1, 2, 3], [1.0, 2.0, 3.0])
    (axes,) = plot.lines(plot.Panel("", "x", "y", {"a": same, "b": same, "c": same})).axes
    drawn = sorted(axes.lines, key=lambda line: line.get_zorder())
    assert [line.get_label() for line in drawn] == ["c", "b", "a"]
    assert drawn[0].get_linewidth() > drawn[1].get_linewidth() > drawn[2].get_linewidth()


def test_a_map_names_start_and_minimum_and_is_grey_outside_of_constraints():
    def f(x):
        return jnp.where(x[..., 0] < 0.5, (x**2).sum(-1), jnp.nan)

    ways = {"descent": [[-1.0, 1.0], [0.0, 0.0]]}
    terrain = plot.Terrain("", f, ((-1.0, 1.0), (-1.0, 1.0)), ways, [(0.0, 0.0)])
    (axes,) = plot.contours(terrain).axes
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert named == ["minimum", "start", "descent"]
    outside = [
        path.vertices for one in axes.collections if one.get_fc().size for path in one.get_paths()
    ]
    assert any(len(one) and one[:, 0].min() > 0.4 for one in outside)


@pytest.mark.parametrize(
    ("places", "own"), [([0.001, 0.01, 0.1], True), ([0.003685848, 0.005086414, 0.1], False)]
)
def test_places_measured_are_ticks_where_they_have_room(places, own):
    panel = plot.Panel("", "seconds", "loss", {"a": (places, [1.0, 2.0, 3.0])}, log="x")
    figure = plot.lines(panel)
    assert faults(figure) == []
    first, *_ = figure.axes[0].get_xticklabels()
    assert (first.get_text() == "0.001") == own


def test_alignments_are_a_map_each_with_its_letters():
    word = plot.Alignment(np.eye(3)[[0, 1, 1, 2]], [*"cat"], ["K", "AE", "T", "end"])
    figure = plot.alignments(word, word, word, word, title="words", x="read", y="written")
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 4
    assert faults(figure) == []
    assert [tick.get_text() for tick in shown[0].get_yticklabels()] == ["K", "AE", "T", "end"]
    np.testing.assert_array_equal(shown[0].images[0].get_array(), word.weights)
    with pytest.raises(ValueError, match=r"weights \(4, 3\) of 3 written and 4 read"):
        plot.alignments(word._replace(read=[*"cats"], written=[*"cat"]), title="", x="", y="")
