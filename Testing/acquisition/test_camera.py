"""Cameras follow DICOM PS3.3 C.8.7.5, round trip, and move rigidly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from VesselFlowGSLib.acquisition.camera import carm_cameras

angle = st.floats(-np.pi, np.pi)
tilt = st.floats(-1.4, 1.4)
coordinate = st.floats(-60.0, 60.0)
point = st.tuples(coordinate, coordinate, coordinate)


def by_the_formulas(x, a, b, sod, sid, p, n, iso):
    """(row, column) of a point by projecting it onto the receptor plane, straight from the definition of the angles."""
    d = np.array([np.sin(a) * np.cos(b), -np.cos(a) * np.cos(b), np.sin(b)])
    u = np.array([np.cos(a), np.sin(a), 0.0])
    v = np.array([np.sin(a) * np.sin(b), -np.cos(a) * np.sin(b), -np.cos(b)])
    assert np.allclose(np.cross(u, v), -d)
    offset = np.asarray(x) - iso
    magnification = sid / (sod + offset @ d)
    return (
        offset @ v * magnification / p[0] + (n[0] - 1) / 2,
        offset @ u * magnification / p[1] + (n[1] - 1) / 2,
    )


@given(angle, tilt, point, point)
def test_points_fall_where_the_definition_of_the_angles_puts_them(a, b, x, iso):
    cameras = carm_cameras(a, b, 750.0, 1200.0, (0.4, 0.3), (200, 256), isocentre_lps_mm=iso)
    found = cameras.pixels([np.add(x, iso)])[0, 0]
    expected = by_the_formulas(np.add(x, iso), a, b, 750.0, 1200.0, (0.4, 0.3), (200, 256), iso)
    assert np.allclose(found, expected, atol=1e-8)


@given(angle, tilt, st.floats(0, 199), st.floats(0, 255), st.floats(0.2, 0.95))
def test_a_point_on_a_pixels_ray_projects_to_that_pixel(a, b, row, column, part):
    cameras = carm_cameras(a, b, 700.0, 1100.0, (0.4, 0.3), (200, 256), (90.0, 140.5), (1.0, -2.0, 3.0))
    pixel = cameras.origin[0] + row * cameras.row_step[0] + column * cameras.column_step[0]
    x = cameras.source[0] + part * (pixel - cameras.source[0])
    assert np.allclose(cameras.pixels([x])[0, 0], (row, column), atol=1e-7)


def test_an_asymmetric_phantom_appears_the_right_way_round():
    """Beads to the patient's left, back and head; the frontal view has left at larger columns, head at smaller rows."""
    left, back, head = np.eye(3) * 20
    frontal = carm_cameras(0.0, 0.0, 750.0, 1200.0, (0.4, 0.4), (256, 256)).pixels([left, back, head])[0]
    middle = 127.5
    assert frontal[0, 1] > middle + 50 and np.isclose(frontal[0, 0], middle)
    assert np.allclose(frontal[1], middle)
    assert frontal[2, 0] < middle - 50 and np.isclose(frontal[2, 1], middle)
    # receptor at the patient's left (LAO 90): the back is at larger columns
    lateral = carm_cameras(np.pi / 2, 0.0, 750.0, 1200.0, (0.4, 0.4), (256, 256)).pixels([left, back, head])[0]
    assert lateral[1, 1] > middle + 50 and np.allclose(lateral[0], middle)


def test_the_receptor_is_at_the_left_for_lao_and_at_the_head_for_cranial():
    for a, b, towards in ((np.pi / 2, 0.0, (1, 0, 0)), (0.0, 0.0, (0, -1, 0)), (0.0, np.pi / 2, (0, 0, 1))):
        cameras = carm_cameras(a, b, 750.0, 1200.0, (0.4, 0.4), (101, 101))
        assert np.allclose(cameras.source[0], -750.0 * np.array(towards), atol=1e-9)
        assert np.allclose(cameras.pixel_centres()[0, 50, 50], 450.0 * np.array(towards), atol=1e-9)
        assert np.allclose(cameras.normal[0], towards, atol=1e-12)


def test_magnification_at_the_isocentre_is_sid_over_sod():
    cameras = carm_cameras(0.3, -0.2, 750.0, 1200.0, (0.4, 0.4), (256, 256))
    along = cameras.column_step[0] / 0.4
    across = cameras.pixels([np.zeros(3), along])[0]
    assert np.isclose((across[1] - across[0])[1] * 0.4, 1200 / 750)


def test_the_principal_point_sees_the_isocentre():
    cameras = carm_cameras([0.1, 0.9], [0.2, -0.3], 700.0, 1000.0, (0.3, 0.3), (64, 80), (10.0, 70.0), (5.0, 6.0, 7.0))
    assert np.allclose(cameras.pixels([[5.0, 6.0, 7.0]])[:, 0], [10.0, 70.0])


def test_points_behind_the_source_have_no_pixel():
    cameras = carm_cameras(0.0, 0.0, 700.0, 1000.0, (0.3, 0.3), (64, 80))
    assert np.all(np.isnan(cameras.pixels([[0.0, 701.0, 0.0]])))


@given(angle, tilt, point, point)
def test_moving_camera_and_point_together_changes_nothing(a, turn, x, shift):
    cameras = carm_cameras(a, 0.1, 750.0, 1200.0, (0.4, 0.4), (256, 256))
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    about = np.array([1.0, 2.0, 3.0])
    moved = cameras.moved(rotation, shift, about)
    y = rotation @ (np.array(x) - about) + about + shift
    assert np.allclose(moved.pixels([y]), cameras.pixels([x]), atol=1e-6)


@pytest.mark.parametrize("index", [0, 1, -1])
def test_one_view_of_several(index):
    cameras = carm_cameras([0.0, 0.5, 1.0], 0.0, 750.0, 1200.0, (0.4, 0.4), (256, 256))
    assert len(cameras[index]) == 1
    assert np.array_equal(cameras[index].source[0], cameras.source[index])
