"""What the command draws together of a list."""

from pack.vqdiffusion_core.cli import drawing


def note_batches(monkeypatch):
    """The seeds of each batch that is drawn from now on."""
    seen, generate_each = [], drawing.generate_each

    def generate_and_note(model, conditions, nulls, seeds, settings):
        seen.append(list(seeds))
        return generate_each(model, conditions, nulls, seeds, settings)

    monkeypatch.setattr(drawing, "generate_each", generate_and_note)
    return seen
