"""Words that a company, its customers and its goods are drawn from. ``Pool`` parts them: held-out rows have their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Pool:
    """Words that one part of the data may use.

    Attributes:
        names: First names of customers.
        cities: Places to deliver to.
        items: Goods.
        open_states: Ways to say that an order has not left yet.
        shipped_states: Ways to say that it has.
        topics: For each team, what it answers for.
        openings: How a message may begin.
        closings: How it may end; ``{name}`` is a customer's.
    """

    names: tuple[str, ...]
    cities: tuple[str, ...]
    items: tuple[str, ...]
    open_states: tuple[str, ...]
    shipped_states: tuple[str, ...]
    topics: dict[str, tuple[str, ...]]
    openings: tuple[str, ...]
    closings: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


COMPANIES: Final = _words(
    "Alder & Finch, Brightwater, Cobalt Row, Dunmore Goods, Elmstead, Fernlea, Grey Heron, Hollins, Ivybridge, "
    "Juniper Lane, Kestrel House, Larkfield, Marrow & Pine, Northgate, Oakhurst, Pemberly, Quillon, Rookwood, "
    "Saltmarsh, Thistledown, Umber & Co, Verity Home, Westerly, Yarrow"
)
TIERS: Final = (("Gold", "Silver", "Basic"), ("Prime", "Plus", "Free"), ("Ruby", "Pearl", "Jade"))

TRAINING: Final = Pool(
    names=_words(
        "Ada, Amélie, Anton, Björn, Carla, Chloé, Dario, Elena, Emil, Farid, Fiona, Gustav, Hana, Henrik, Ines, "
        "Ivan, Jonas, José, Karin, Lars, Leïla, Lina, Lucía, Marek, Martha, Milo, Nadia, Nils, Noémie, Olga, Omar, "
        "Paula, Pavel, Petra, Quentin, Rafael, Renée, Rosa, Sami, Sofia, Sören, Tilda, Tomás, Uwe, Vera, Viktor, "
        "Wanda, Xenia, Yusuf, Zoë"
    ),
    cities=_words(
        "Aarhus, Antwerp, Basel, Bergen, Bologna, Bordeaux, Brno, Cologne, Cork, Dijon, Dresden, "
        "Espoo, Faro, Ghent, Graz, Hamburg, Leeds, Liège, Lille, "
        "Linz, Lyon, Malmö, Nantes, Odense, Oxford, Parma, Pisa, Porto, Rennes, Riga, Siena, Split, Tallinn, "
        "Trier, Turin, Utrecht, Vigo, Zagreb, Zürich"
    ),
    items=_words(
        "lamp, kettle, desk, chair, mirror, toaster, blanket, clock, rug, shelf, vase, teapot, stool, radio, heater, "
        "pillow, basket, curtain, ladder, tray, bench, mattress, candle set, coat rack, tool box, bread bin, "
        "door mat, towel set, sofa bed, wine rack, plant stand, salad bowl, coffee mill, bedside table, frying pan"
    ),
    open_states=_words(
        "it has not shipped, it has not left yet, it is still being packed, it is still in your warehouse, "
        "it is not on its way yet, nothing has been sent yet, you have not posted it, it is waiting to be packed"
    ),
    shipped_states=_words(
        "it has shipped, it has left your warehouse, it is on its way, the parcel is with the carrier, "
        "you have posted it, the driver has it, it was sent this morning, it is out for delivery"
    ),
    topics={
        "billing": _words(
            "an invoice, a wrong invoice, a double charge, a tax receipt, a missing receipt, a credit note, "
            "a payment that failed, a charge I do not know, the VAT on my bill, a late fee"
        ),
        "technical": _words(
            "a broken part, a loose screw, a strange noise, a cracked lid, a missing manual, a switch that sticks, "
            "a part that does not fit, a burnt smell, a leak, a cable that is too short"
        ),
        "privacy": _words(
            "the data you keep on me, deleting my data, a copy of my data, who sees my data, my consent, "
            "your privacy notice, closing my account, emails I never asked for, data you sold, your cookies"
        ),
    },
    openings=_words("Hello., Hi there., Good morning., Hi., Hello there., Good afternoon., Dear team., Hey."),
    closings=_words(
        "Thanks., Thank you., {name}, Thanks! {name}, Kind regards {name}, Best wishes {name}, Regards {name}, "
        "Many thanks {name}"
    ),
)
HELD_OUT: Final = Pool(
    names=_words("Agnès, Bruno, Dagmar, Elias, Freya, Gérard, Ilse, Kaspar, Mireille, Oskar, Ruth, Tadeusz, Ursula"),
    cities=_words("Bremen, Girona, Jena, Lund, Metz, Nîmes, Ostrava, Padua, Würzburg, York, Zadar"),
    items=_words("bookcase, doorbell, footstool, jug, music stand, oven glove, picture frame, quilt, sieve, wardrobe"),
    open_states=_words("it is not sent yet, it is still with you, it is still on your shelf, it has not gone out"),
    shipped_states=_words("it has been sent, it is already in the van, it has gone out, the carrier has it now"),
    topics={
        "billing": _words("an unpaid invoice, an amount charged twice, a receipt for my taxes, a payment of mine"),
        "technical": _words("a broken hinge, a part that is missing, a noise it makes, a screw that fell out"),
        "privacy": _words("data that you store on me, erasing my data, my privacy, the data you share"),
    },
    openings=_words("Good day., Hi team., Good evening., Greetings."),
    closings=_words("Cheers {name}, Yours {name}, Thanks a lot. {name}, Much obliged. {name}"),
)
