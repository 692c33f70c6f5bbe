"""Text into HTML: whatever a document, a model or a visitor wrote is shown as text, never as markup.

Gradio hands HTML through a template that knows ${...} and {{...}}; their characters are escaped, too.
"""

from html import escape

_TEMPLATE = {ord(character): f"&#{ord(character)};" for character in "${}`"}


def escaped(text: object) -> str:
    """`text` fit for an HTML element or a quoted attribute."""
    return escape(str(text), quote=True).translate(_TEMPLATE)


def element(name: str, content: str, **attributes: object) -> str:
    """<name attributes>content</name>; `content` is markup, attributes are text.

    Underscores in names of attributes become hyphens, a trailing one goes (class_); False and None leave the attribute out.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escaped(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return f"<{name}{written}>{content}</{name}>"
