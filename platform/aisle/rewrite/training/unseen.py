"""Words that the sample shop does not know, for a rewriter that has to leave them alone.

A spelling model trained on one shop's words bends every other word into one of them ("table" into "cable"), and a
wrong correction is worse than none. So training mixes in queries of invented words, model codes and measures, and of
plain English product words that the sample does not sell, all to be copied. A tenth of all words, chosen by a hash of
the word, is never trained on: the copy rate is measured on that tenth.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable


def _words(listing: str) -> list[str]:
    return listing.split()


_ONSETS = _words(
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k kl kn l m n p ph pl pr qu r s sc sh sk sl sm sn sp st str sw t th "
    "tr tw v w wh x y z"
)
_VOWELS = _words("a a a e e e i i i o o o u u y ai au ay ea ee ei eo ia ie io oa oo ou")
_CODAS = [""] * 14 + _words(
    "b ck ct d f ff ft g k l ld lk ll lt m mp n nd ng nk nt p r rd rk rm rn rt s sh sk ss st t th x z zz"
)
_ENDINGS = [""] * 30 + _words("er ex ia ify io ion ix ly o on or os ra tec tek um us via")
_UNITS = _words(
    "mm cm m in inch ft oz lb lbs kg g ml l gal v volt w watt kw amp ah mah hz ghz gb tb mp psi pack pcs piece ct"
)
_CODE_LETTERS = "abcdefghijklmnopqrstuvwxyz"

_PLAIN_WORDS = """
able acorn acrylic adapter adhesive air alarm album alder ale aluminum amber anchor angle ankle antenna anvil apple
apron arbor arch arm armor arrow ash atlas attic auger awning axe axle baby back badge bag bait balance ball balm
band banner bar bark barn barrel basin basket bass bat bath batten beacon bead beam bean bear bed bee bell belt bench
berry bike bin bird bit blade blank blind block blower board boat bolt bone book boot border bottle bow bowl box brace
bracket braid brake branch brass bread brick bridge broom brush bubble bucket buckle buffer bulb bull bumper bunk
burner bush butter button buzzer cabin cable cage cake calendar camel camp can candle canoe canopy canvas cap cape car
carbon card cargo carpet cart carve cast castle cat caulk cedar ceiling cell cement ceramic chain chalk channel chart
check cherry chest chime chip chisel choke chrome cinder circle circuit clamp clasp claw clear cleat clip cloak closet
cloud clover club coal coast coat cobalt coil coin collar column comb compass concrete cone conduit control cooler
copper coral cord core cork corner cotton coupling court cover cradle craft crane crank crate crawl cream crib crown
crystal cube cup curb curl curve cushion cut cutter cycle dagger dam damper dart date deck deer denim desk dial
diamond dice dip disc dish dock dog dolly dome door dough dove drain drape drawer drift drill drip drive drum dry duck
duct dust dye eagle ear earth easel edge edger egg elbow elm ember engine epoxy eraser exhaust eye face fan fang fast
faucet feather felt fence fender fern ferry fiber field fig file fill film filter fin finish fire fish fitting flag
flame flange flannel flap flare flash flask flat fleet flex flint flip float floor flower flush flute foam fog foil
fold fork form forge fort fountain fox frame freezer fret frost fruit fuel funnel fur furnace fuse gable garage gas
gasket gate gauge gear gel gem generator ghost gift ginger glass glaze globe glove goat gold golf goose gown grain
grate gravel grease green grid grill grind grip groove grout guard guide gum gun gutter hail hair halo hammer hand
handle hanger harbor hardwood harness harp hat hatch hawk hazel head heart hearth heat heater hedge heel helmet hem hemp
herb hide hinge hitch hoe hoist hole holly hood hook hoop horn horse hose hound house hub hull ice icon inlet insert
insulation iris iron island ivory ivy jack jacket jade jam jar jaw jeans jet jewel jigsaw joint joist jug juice jump
kayak keg kennel kettle key kiln king kite knee knob knot label lace ladder lake lamb laminate lance land lane lantern
lap laser latch lathe lattice lava lawn lead leaf leather ledge leg lemon lever lid light lilac lily lime limb line
linen lining link lint lion lip load lobby lock locker lodge log loft loom loop lotus louver lumber lunch lure lute
magnet mail mallet mango mantel map maple marble marker marsh mask mast mat match meadow medal melon mesh metal meter
milk mill mineral mint mirror mitten mixer mold monitor moon mop mortar moss motor mount mouse mower mud mug mural
mustard nail napkin navy neck needle nest net nickel night notch novel nozzle nut nylon oak oar oat oil olive onion opal
orange orbit organ outlet oval oven owl oxide pad paddle page pail paint pan panel pantry pants parcel park part
partition pass paste patch path patio paver peach peak pear pearl pedal pedestal peg pen pendant pepper perch petal
pewter pick picket pie pier pig pike pilot pin pine pink pipe pit pivot plain planer plank plant plaster plate plow plug
plum plumb plunger pocket pod pole polish pond pony pool poplar porch port post pot powder press primer prism probe
propane pruner puck puddle pull pulley pulse pump punch puppet purse putty quartz queen quill quilt rabbit rack radar
radio raft rag rail rain rake ramp ranch range rasp raven ray razor reed reel reflector regulator relay resin rib ribbon
rice ridge rifle rim ring rinse river rivet road robe robin rock rod roll roller roof room root rope rose rotor round
router row rubber rug ruler runner rust sable sack saddle safe sage sail salad salmon salt sand sander sash satin sauce
saw scale scarf school scoop scope scoot scraper screen screw seal seam seat seed sensor shackle shade shaft shale shark
shed sheep sheet shelf shell shelter shield shim shingle ship shirt shoe shop shovel shower shrub shutter siding sieve
sign silk sill silver sink siphon skate skirt skylight slab slate sled sleeve slide sling slip slope smoke smoker snap
snow soap socket sock soda sofa soil solar solder sole spa space spade spark spike spindle spiral splice sponge spool
spoon sprayer spring spruce square squash stable stack staff stain stair stake stall stamp staple star station stave
steam steel stem step stick stone stool stop storm stove strap straw stream strip strut stucco stud sugar suit sun
surface swan switch sword syrup table tack tail tank tap tape tar tarp tea teak teal tee tent terrace thermostat thread
thumb thyme tide tie tiger tile timber timer tin tint tire toast toe toilet tongs tool tooth top torch towel tower toy
track tractor trail tram trap tray treadle tree trellis trim trough trowel truck trunk truss tub tube tulip tumbler
tunnel turbine turf twig twine umber unit urn valance valve van vane vanity varnish vase vat vault veil velvet veneer
vent vest vine vinyl violin vise wagon waist wall walnut wand warp washer waste watch water wave wax weather web wedge
weed weld well wharf wheat wheel whip whisk white wick wicker wide willow winch wind window wine wing wire wolf wood
wool work wrap wreath wrench wrist yard yarn yoke zebra zinc zipper zone
"""
PLAIN_WORDS: tuple[str, ...] = tuple(_PLAIN_WORDS.split())
"""English words of many shops' products, written down for this purpose."""


def is_held_out(word: str) -> bool:
    """Whether a word is kept out of training, to measure on: one in ten, by its hash and so for ever."""
    return zlib.crc32(word.encode()) % 10 == 0


def invent_word(rng: random.Random) -> str:
    """A pronounceable word of one to three syllables that most likely means nothing."""
    syllables = rng.choices((1, 2, 3), (4, 6, 2))[0]
    parts = [
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(syllables)
    ]
    word = "".join(parts) + rng.choice(_ENDINGS)
    return word if len(word) > 2 else word + rng.choice(_CODE_LETTERS)


def invent_code(rng: random.Random) -> str:
    """A model number or part number, such as `xr-5500`, `k70`, `ab12c`, `4500-bk` or `0915`."""
    letters = "".join(rng.choices(_CODE_LETTERS, k=rng.choice((1, 1, 2, 2, 3, 4))))
    tail = "".join(rng.choices(_CODE_LETTERS, k=rng.choice((1, 1, 2, 3))))
    digits = "".join(rng.choices("0123456789", k=rng.choice((1, 2, 2, 3, 3, 4, 4, 5))))
    more = "".join(rng.choices("0123456789", k=rng.choice((1, 2, 3))))
    patterns = (
        f"{letters}{digits}",
        f"{letters}-{digits}",
        f"{digits}{letters}",
        f"{letters}{digits}{tail}",
        f"{letters}-{digits}{tail}",
        f"{digits}-{tail}",
        f"{letters}{digits}-{more}",
        f"{letters}{digits}/{more}",
        f"{digits}",
        f"{digits}-{more}",
    )
    return rng.choice(patterns)


def invent_measure(rng: random.Random) -> str:
    """A number with a unit as shoppers write it, such as `3/4 in`, `12v`, `5 x 7`, `1.5 gal` or `55"`."""
    number = rng.choice(
        (
            str(rng.randint(1, 20)),
            str(rng.choice((rng.randint(20, 150), rng.randrange(100, 2000, 25)))),
            f"{rng.randint(0, 12)}.{rng.choice((5, 25, 75, rng.randint(1, 9)))}",
            f"{rng.choice((1, 3, 5, 7))}/{rng.choice((2, 4, 8, 16))}",
            f"{rng.randint(1, 4)}-{rng.choice((1, 3))}/{rng.choice((2, 4, 8))}",
        )
    )
    unit = rng.choice(_UNITS)
    other = str(rng.randint(1, 48))
    patterns = (
        f"{number} {unit}",
        f"{number}{unit}",
        f"{number}-{unit}",
        f'{number}"',
        f"{number} x {other}",
        f"{number}x{other}",
        f"{number} {unit}",
        f"{number}{unit}",
    )
    return rng.choice(patterns)


def pick_unseen(rng: random.Random, held_out: bool) -> str:
    """One invented or plain word from the trained or from the held-out side."""
    draw: Callable[[random.Random], str] = (
        (lambda r: r.choice(PLAIN_WORDS)) if rng.random() < 0.35 else invent_word
    )
    while True:
        word = draw(rng)
        if is_held_out(word) == held_out:
            return word
