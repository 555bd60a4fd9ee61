"""The README's table of loaders."""

SHOWN = (
    ("memcpy of the pixels", "memcpy"), ("FFCV, decode only", "ffcv decode only"),
    ("FFCV's own flip + translate + cutout", "ffcv stock ops"), ("**Cadence, the same in one pass**", "cadence fused"),
    ("FFCV's own, normalised to float32", "ffcv stock ops + normalise"),
    ("**Cadence, the same**", "cadence fused + normalise"),
)


def summary(rows: list[dict], large: list[dict]) -> str:
    """The table of `rows`, and the sentences under it; `large`: the rows of --large."""
    by_place = {(row["peer"], row["threads"], row["batch"]): row for row in rows}
    threads, batches = (sorted({row[key] for row in rows}) for key in ("threads", "batch"))

    def cell(peer: str, count: int) -> str:
        found = [by_place[peer, count, batch]["images_per_second"]["median"] for batch in batches]
        return " / ".join(f"{rate:,.0f}" for rate in found)

    def span(peer: str) -> str:
        ratios = [by_place[peer, count, batch]["ratio_to_ffcv_stock"] for count in threads for batch in batches]
        return f"{min(ratios):.1f} to {max(ratios):.1f} ×"

    head = [f"{count} thread{'s' if count > 1 else ''}" for count in threads]
    lines = [f"| images per second, 32 × 32, batch {' / '.join(map(str, batches))} | {' | '.join(head)} |",
             "|---" * (len(threads) + 1) + "|"]
    lines += [f"| {title} | {' | '.join(cell(peer, count) for count in threads)} |" for title, peer in SHOWN]
    slow = [next(row for row in rows if row["peer"].startswith("torchvision")
                 and (row["threads"], row["batch"]) == (count, batches[0])) for count in threads]
    rates = " | ".join(f"{row['images_per_second']['median']:,.0f}" for row in slow)
    lines.append(f"| torchvision v2 under a DataLoader, batch {batches[0]} | {rates} |")
    facts = rows[0]["environment"]["hardware"]
    best = max((row for row in large if "ratio_to_seed" in row and row["output"] == "float32"),
               key=lambda row: row["images_per_second"]["median"])
    lines += ["", f"On {facts['processor']}, {facts['cores']} cores, in one run, in turns: "
              f"{span('cadence fused')} FFCV's own operations (uint8).",
              f"Normalised, {span('cadence fused + normalise')}: torch normalises after the pass, as the engine does, and "
              "writes 12 KB per image.",
              "At 224 px the ResNet-50 seed's policy, sampled once from the 32 px originals, brings",
              f"{best['images_per_second']['median']:,.0f} normalised images per second on {best['threads']} threads, "
              f"{best['ratio_to_seed']:.0f} × its author's pipeline beside it.", ""]
    return "\n".join(lines)
