"""The model card: what lies in a model's folder, what it was trained on, and the lines that open it.

It names only what determines the weights, so that equal trainings give equal bytes: no run, path, device or date.
Its example is the first held-out problem that is asked as evaluation asks it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from arith_shared.keys import train_determinants
from arith_shared.problems import encode, sample, texts

if TYPE_CHECKING:
    from arith_shared.specs import Spec

#: The card's name; the Hugging Face Hub shows the file of this name first.
CARD_FILE = "README.md"

_CARD = """\
---
library_name: transformers
pipeline_tag: text-generation
tags: [arithmetic, arithctl]
---

# {kind} that solves arithmetic problems

{parameters:,} parameters: {layers} layers, {heads} heads, width {width}, feed-forward {ffn}. Trained from scratch
by arithctl to answer problems such as `{question}` with `{output}`. It knows no other text.

Of {held_out:,} problems that it was not trained on (split `valid`) it answers a share of {accuracy:.4f} with the
whole right output; the training took {steps:,} steps. `training.jsonl` has loss,
gradient norm, learning rate and accuracy over time.

## Load it

Run these lines where this folder is the working folder, or write its path for `"."`.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
lm = AutoModelForCausalLM.from_pretrained(".")
asked = tokenizer({prompt}, return_tensors="pt")
ids, mask = asked["input_ids"], asked["attention_mask"]
written = lm.generate(ids, attention_mask=mask, max_new_tokens={new_tokens}, do_sample=False)
print(tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True))
```

The right output is `{output}`. {reading}

## What determines it

A number is one token, and spaces only separate tokens. Weights are float32 safetensors; no code comes with them.
The fields of the spec that the weights follow from, seed {seed} included:

```json
{fields}
```
"""

_ONE = "One problem is one text; it ends with `<eos>`."
_SEVERAL = (
    "A text is {count} problems, each on a line of its own: those before the last are its demonstrations."
)


def model_card(spec: Spec, facts: Mapping[str, Any]) -> str:
    """Markdown of the card.

    `facts` are the training's `parameters`, `steps` and `accuracy` on the validation problems.
    """
    lm, distribution = spec.lm, spec.task.training_distribution()
    if lm.kind == "pretrained":
        raise ValueError("a pretrained LM is not trained here and has a card of its own")
    first = sample(distribution, "valid", 0, lm.problems_per_text, spec.seed)
    encoded = encode(first, distribution, spec.task.chain)
    *before, (question, output) = texts(first, distribution, spec.task.chain)
    demonstrations = "".join(f"{asked}{answer}\n" for asked, answer in before)
    return _CARD.format(
        kind={"opt": "OPT decoder", "mistral": "Mistral"}[lm.kind],
        parameters=facts["parameters"],
        layers=lm.layers,
        heads=lm.heads,
        width=lm.width,
        ffn=lm.ffn,
        question=question,
        output=output,
        held_out=lm.training.evaluate_problems,
        accuracy=facts["accuracy"],
        steps=facts["steps"],
        prompt=json.dumps(demonstrations + question),
        new_tokens=int((encoded.length - encoded.question_length)[-1]),
        reading=_ONE if lm.problems_per_text == 1 else _SEVERAL.format(count=lm.problems_per_text),
        seed=spec.seed,
        fields=json.dumps(train_determinants(spec), indent=1),
    )
