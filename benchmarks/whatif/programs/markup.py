"""XML documents as trees of xml.dom.minidom, whose nodes know their parents."""

from xml.dom import minidom

for turn in range(20):
    document = minidom.Document()
    table = document.appendChild(document.createElement("table"))
    for row in range(400):
        line = table.appendChild(document.createElement("row"))
        line.setAttribute("id", f"{turn}-{row}")
        line.appendChild(document.createTextNode(f"text {row}"))
    parsed = minidom.parseString(document.toxml())
    found = len(parsed.getElementsByTagName("row"))
    if turn % 3 == 0:
        parsed.unlink()
