"""Words that the generated sets are made of: everyday English, and invented ones."""

import random

_COMMON = """
able acid aged also area army away baby back ball band bank base bath bear beat bell belt bend best
bird bite blow blue boat body bold bone book boot born both bowl brave bread brick bring brown build
cake call calm camp card care cart case cash cave chair chalk cheap chess chin city clay clean clear
clock cloud coal coat code coin cold cook cool copy corn crab crow dance dark dawn deal dear deep deer
desk dirt dish door down draw dream dress drift drum duck dust eagle early earth east easy edge eight
empty enter equal even event exact extra face fact fair fall farm fast fern field film find fine fire
fish flag flame flat floor flow flute foam fold food foot forest fork form fox free fresh frog fruit
gate gift giant glad glass glove goat gold good grain grape grass green grow guest guide hair half hand
harbor harp hat hawk heat herb hill hint hold hole home honey hope horse hotel house hunt ice idea inch
iron island item jacket jar job join judge juice jump keen keep kettle key kind king kite knee knife
knot lake lamp land large laugh lawn leaf learn left lemon level light lily limb line lion list little
loaf local log long look loud low luck lunch magic mail main maple march mark market mask meadow meal
melon metal mile milk mill mind mint mirror model month moon moss motor mouse music nail name narrow
near neat nest night noble noise north nose note novel nurse oak ocean offer olive onion open orange
orbit order otter oven owl page paint pair palm panda paper park path peach pear pen piano pilot pine
pink pipe plain plan plant plate plum pocket point pond pony pool prize proud pull pump quick quiet
quilt rabbit radio rain ranch rapid reach ready rice ring river road robin rock roof room root rope
rose round row rule sail salt sand scale school sea seed shape sharp sheep shelf shell ship shoe shop
short silk silver sing sky sleep slow small smile snow soap sock soft soil song soup south space spoon
spring square stage star steam stone storm story street sugar summer sun swan sweet swim table tail
tall team tent thin tide tiger time tiny toast tooth tower town track train tray tree truck tulip
turn uncle under unit upper valley vase vest view village violin visit vivid voice wagon walk wall
warm wash watch water wave west wheat wheel white wide wild wind window wing winter wolf wood wool
word world yard year yellow young zebra
"""
COMMON = tuple(_COMMON.split())

_VOWELS = "aeiou"
_CONSONANTS = "bcdfghjklmnpqrstvwxyz"


def invent(draw: random.Random, length: int) -> str:
    """An invented word of `length` letters, vowels and consonants taking turns."""
    starts_with_vowel = draw.random() < 0.3
    letters = (
        draw.choice(_VOWELS if (place % 2 == 0) == starts_with_vowel else _CONSONANTS)
        for place in range(length)
    )
    return "".join(letters)
