"""The embedded default screen: a mechanistic gene network whose truth is known."""

from perturbkit.data.simulate.presets import PRESETS as PRESETS
from perturbkit.data.simulate.presets import preset as preset
from perturbkit.data.simulate.settings import SimulationConfig as SimulationConfig
from perturbkit.data.simulate.simulate import Simulated as Simulated
from perturbkit.data.simulate.simulate import simulate as simulate
from perturbkit.data.simulate.world import World as World
from perturbkit.data.simulate.world import draw_world as draw_world
