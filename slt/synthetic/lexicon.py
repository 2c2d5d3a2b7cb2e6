"""The words of the invented language, class by class, each laid out on a grid of handshapes and places."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from slt.synthetic.phonology import BROWS, HANDSHAPES, LOCATIONS, MOUTHS, MOVEMENTS, ORIENTATIONS, Grid, Sign, form

# Sets of four handshapes that the eye keeps apart.
_A = ("flat", "index", "wye", "ring")
_B = ("fist", "vee", "ell", "spread")
_C = ("three", "horns", "thumb", "claw")
_ALL = _A + _B + _C

# fmt: off
_DEFAULT = (
    Grid("time", "ayer:past, hoy:present, mañana:future, luego:future",
         ("fist", "horns"), "ear/shake forehead/out", "up_palm", 1),
    Grid("pronoun", "yo:1s, tú:2s, nosotros:1p, ella:3s",
         ("index", "three"), "chest/hold shoulder/hold", "tilt_palm", 1),
    Grid("person", "niño:m|niña:f, vecino:m|vecina:f, hermano:m|hermana:f, maestro:m|maestra:f",
         ("claw", "thumb"), "chin/down forehead/down", "up_palm", 1),
    Grid("number", "dos, tres, muchos, todos", ("vee", "claw"), "side/hold side/up", "up_palm", 1),
    Grid("thing", "libro:m, mesa:f, reloj:m, flor:f, caja:f, lápiz:m, camisa:f, espejo:m, "
         "silla:f, zapato:m, bolsa:f, sillón:m", _A, "chest/down shoulder/down waist/down", "up_back", 1),
    Grid("quality", "rojo, blanco, nuevo, viejo, grande, pequeño, bonito, verde",
         _C, "shoulder/circle chest/shake", "tilt_palm", 1),
    Grid("place", "mercado:m, escuela:f, plaza:f, jardín:m", ("flat", "ring"), "side/circle waist/up", "up_palm", 2),
    Grid("act", "comprar, limpiar, buscar, pintar, llevar, encontrar/encuentr, mirar, olvidar",
         _B, "chest/out waist/out", "side_back", 2),
    Grid("deed", "trabajar, bailar, cantar, descansar, esperar, nadar",
         ("fist", "vee", "spread"), "forehead/circle ear/circle", "side_back", 1),
    Grid("asking", "quién, qué, dónde, por qué", ("ell", "spread"), "chin/shake chin/out", "up_palm", 1),
)

_HARD = (
    Grid("time", "ayer:past, hoy:present, mañana:future, luego:future, anoche:past, ahora:present, anteayer:past, "
         "pronto:future, esta semana:present, la semana pasada:past, la semana próxima:future, este mes:present, "
         "el mes pasado:past, el mes próximo:future, el lunes pasado:past, el lunes próximo:future",
         ("fist", "flat", "horns", "ell"), "ear/shake forehead/out ear/out forehead/shake", "up_palm", 1),
    Grid("pronoun", "yo:1s, tú:2s, nosotros:1p, él:3s, ella:3s, ustedes:3p, ellos:3p, ellas:3p",
         ("index", "three", "fist", "ell"), "chest/hold shoulder/hold", "tilt_palm", 1),
    Grid("person", "niño:m|niña:f, abuelo:m|abuela:f, vecino:m|vecina:f, médico:m|médica:f, hermano:m|hermana:f, "
         "amigo:m|amiga:f, maestro:m|maestra:f, primo:m|prima:f, hijo:m|hija:f, tío:m|tía:f, alumno:m|alumna:f, "
         "cocinero:m|cocinera:f, enfermero:m|enfermera:f, abogado:m|abogada:f, ingeniero:m|ingeniera:f, "
         "arquitecto:m|arquitecta:f, carpintero:m|carpintera:f, panadero:m|panadera:f, peluquero:m|peluquera:f, "
         "bombero:m|bombera:f, camarero:m|camarera:f, jardinero:m|jardinera:f, fotógrafo:m|fotógrafa:f, "
         "compañero:m|compañera:f", _ALL, "chin/down forehead/down", "up_palm", 1),
    Grid("number", "dos, tres, cuatro, cinco, seis, siete, ocho, nueve, diez, muchos, pocos, todos",
         ("vee", "three", "spread", "claw"), "side/hold side/up side/shake", "up_palm", 1),
    Grid("owner", "mi, tu, su", ("flat", "thumb"), "chest/hold chest/up", "up_back", 1),
    Grid("thing", "libro:m, mesa:f, reloj:m, flor:f, caja:f, lápiz:m, camisa:f, espejo:m, silla:f, zapato:m, bolsa:f, "
         "sillón:m, plato:m, taza:f, jarrón:m, lámpara:f, cuadro:m, carta:f, llave:f, vaso:m, botella:f, cuchara:f, "
         "cuchillo:m, tenedor:m, sombrero:m, abrigo:m, vestido:m, falda:f, guante:m, bufanda:f, anillo:m, collar:m, "
         "mochila:f, maleta:f, bicicleta:f, moto:f, coche:m, barco:m, tren:m, avión:m, guitarra:f, tambor:m, piano:m, "
         "violín:m, flauta:f, pelota:f, muñeca:f, juguete:m, globo:m, cometa:f, teléfono:m, radio:f, cámara:f, "
         "televisor:m, computadora:f, cuaderno:m, bolígrafo:m, pincel:m, martillo:m, clavo:m, cuerda:f, escalera:f, "
         "escoba:f, balde:m, jabón:m, toalla:f, cepillo:m, peine:m, manta:f, almohada:f, cama:f, armario:m, "
         "alfombra:f, cortina:f, ventana:f, puerta:f, estufa:f, olla:f, sartén:f, jarra:f, cesta:f, queso:m, "
         "manzana:f, naranja:f, limón:m, melón:m, tomate:m, pastel:m, planta:f, piedra:f, moneda:f, billete:m, "
         "mapa:m, foto:f, revista:f, regalo:m",
         _ALL, "chest/down chest/circle waist/down waist/circle chin/circle chin/up shoulder/down shoulder/circle",
         "up_back", 1),
    Grid("quality", "rojo, blanco, negro, amarillo, nuevo, viejo, grande, pequeño, bonito, caro, azul, verde, feo, "
         "barato, largo, corto, ancho, pesado, ligero, limpio, sucio, antiguo, moderno, redondo, fuerte, suave, duro, "
         "blando, raro, famoso, valioso, sencillo, elegante, oscuro, frágil, brillante",
         _ALL, "shoulder/circle chest/shake shoulder/shake", "tilt_palm", 1),
    Grid("place", "mercado:m, escuela:f, parque:m, plaza:f, hospital:m, estación:f, jardín:m, tienda:f, playa:f, "
         "iglesia:f, biblioteca:f, museo:m, teatro:m, cine:m, oficina:f, fábrica:f, cocina:f, calle:f, panadería:f, "
         "farmacia:f, puerto:m, bosque:m, hotel:m, restaurante:m",
         _ALL, "side/circle waist/up", "up_palm", 2),
    Grid("act", "comprar, limpiar, buscar, pintar, dibujar, llevar, encontrar/encuentr, guardar, mirar, "
         "mostrar/muestr, olvidar, necesitar, vender, perder/pierd, esconder, recoger, regalar, prestar, robar, tocar, "
         "usar, lavar, cuidar, alquilar, cambiar, reparar, levantar, empujar, mandar, recibir, cubrir, dejar, tirar, "
         "cargar, sacar, colgar/cuelg, entregar, preparar, envolver/envuelv, describir, descubrir, devolver/devuelv, "
         "admirar, observar, ofrecer, aceptar, rechazar, ordenar",
         _ALL, "chest/out waist/out chest/up waist/shake", "side_back", 2),
    Grid("deed", "trabajar, bailar, cantar, descansar, esperar, estudiar, nadar, caminar, correr, cocinar, jugar/jueg, "
         "viajar, hablar, llorar, gritar, ensayar, entrenar, pasear, charlar, escribir, aprender, comer, cenar, "
         "desayunar", _ALL, "forehead/circle ear/circle", "side_back", 1),
    Grid("manner", "despacio, rápidamente, con cuidado, en silencio, con alegría, otra vez, a menudo, sin prisa",
         _B, "ear/down ear/up", "up_back", 1),
    Grid("asking", "quién, qué, dónde, por qué", ("ell", "spread"), "chin/shake chin/out", "up_palm", 1),
    Grid("link", "y, pero:comma, porque, mientras", ("index", "wye"), "side/down side/out", "tilt_palm", 1),
)
# fmt: on

_SIZES = {"default": _DEFAULT, "hard": _HARD}


def lexicon(size: str) -> tuple[Sign, ...]:
    """Return the signs of a corpus size."""
    if size not in _SIZES:
        raise ValueError(f"size={size!r}: the embedded corpus has the sizes {', '.join(_SIZES)}")
    signs = tuple(sign for grid in _SIZES[size] for sign in grid.signs())
    assert len({sign.gloss for sign in signs}) == len(signs), "a gloss stands twice"
    assert len({form(sign) for sign in signs}) == len(signs), "two signs are performed alike"
    return signs


def describe(signs: tuple[Sign, ...]) -> dict[str, Any]:
    """Return the lexicon as plain values for labels/lexicon.json, with the code tables of the per-frame labels."""
    codes = {"handshapes": HANDSHAPES, "locations": LOCATIONS, "movements": MOVEMENTS, "orientations": ORIENTATIONS}
    return codes | {"mouths": MOUTHS, "brows": BROWS, "signs": [asdict(sign) for sign in signs]}
