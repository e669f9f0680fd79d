"""The sample shop's ten departments, written as data."""

from aisle.catalog.sample.departments.beauty import BEAUTY
from aisle.catalog.sample.departments.clothing import CLOTHING
from aisle.catalog.sample.departments.electronics import ELECTRONICS
from aisle.catalog.sample.departments.garden import GARDEN
from aisle.catalog.sample.departments.home import HOME
from aisle.catalog.sample.departments.kitchen import KITCHEN
from aisle.catalog.sample.departments.office import OFFICE
from aisle.catalog.sample.departments.shoes import SHOES
from aisle.catalog.sample.departments.sports import SPORTS
from aisle.catalog.sample.departments.toys import TOYS

DEPARTMENTS = (
    ELECTRONICS,
    HOME,
    KITCHEN,
    GARDEN,
    SPORTS,
    CLOTHING,
    SHOES,
    BEAUTY,
    TOYS,
    OFFICE,
)

__all__ = ["DEPARTMENTS"]
