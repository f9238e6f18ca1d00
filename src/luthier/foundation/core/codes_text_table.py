"""What the codes of TXT text and templates mean; see ``codes_table.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from luthier.foundation.core.explanation import Explanation

if TYPE_CHECKING:
    from luthier.foundation.core.codes import ErrorCode

TEXT_EXPLANATIONS: Final[dict[ErrorCode, Explanation]] = {
    "E-TXT-001": Explanation(
        "Chat template broken",
        "The chat template is not one that Jinja can read, so no conversation can be written for this model.",
        "Take `chat_template.jinja` from the model's publisher again.",
    ),
    "E-TXT-002": Explanation(
        "Chat template without end",
        "A template is code from elsewhere; one that loops or writes without end is stopped before it fills the memory.",
        "Take `chat_template.jinja` from the model's publisher again.",
    ),
    "E-TXT-003": Explanation(
        "Chat template refuses the row",
        "The template knows certain roles in a certain order, and this conversation is not among them; its own words are quoted.",
        "Mend the row's roles, or choose a template that knows them.",
    ),
    "E-TXT-004": Explanation(
        "Chat template drops something",
        "A message, tool call or tool of the row does not appear in the text, so the model would be trained on something else than the row says.",
        "Set `model.tool_template: chatml_tools`, or take these rows out.",
    ),
    "E-TXT-005": Explanation(
        "Trained text cannot be told apart",
        "The template writes messages in a way in which nobody can say what the assistant wrote; guessing would train the wrong tokens.",
        "Put `{% generation %} … {% endgeneration %}` around the assistant's text in the template.",
    ),
    "E-TXT-006": Explanation(
        "Nothing to train",
        "Not one token of the row is a target, so it would cost time and teach nothing.",
        "Take the row out, or mark one of its assistant messages with `weight: 1`.",
    ),
    "E-TXT-007": Explanation(
        "End of turn not trained",
        "A model that is never shown how its turn ends does not learn to stop.",
        "Name the token that ends a turn in `eos_token_id` of generation_config.json.",
    ),
    "E-TXT-008": Explanation(
        "Conversation without an answer at its end",
        "The last message is not the assistant's, so there is nothing to imitate after it.",
        "Add the answer, or cut the row after its last answer.",
    ),
    "E-TXT-009": Explanation(
        "Row longer than max_length",
        "Rows are never cut silently: half an answer teaches to stop in the middle.",
        "Raise `train.max_length`, or say `too_long: drop` or `split`.",
    ),
    "E-TXT-010": Explanation(
        "Tokenizer cannot be read",
        "A file of the tokenizer is missing or damaged.",
        "Copy the model folder again, or save the tokenizer with `save_pretrained`.",
    ),
    "E-TXT-011": Explanation(
        "Tokenizer without an end token",
        "Without a token that ends a turn a model can never learn to stop.",
        "Name `eos_token` in tokenizer_config.json; it must be in the vocabulary.",
    ),
    "E-TXT-012": Explanation(
        "Form of the row not recognised",
        "The columns of the row fit none of the forms that are read.",
        "Name the form with `form:`, or map columns with `columns:`.",
    ),
    "E-TXT-013": Explanation(
        "Row does not fit its form",
        "A field of the row is missing or has another type than its form says, such as a content that is null.",
        "Mend the line that the message names.",
    ),
    "E-TXT-014": Explanation(
        "Roles in the wrong order",
        "A system message stands at the beginning, and a tool's answer follows the call that asked for it; anything else was damaged on its way.",
        "Mend the order of the messages.",
    ),
    "E-TXT-015": Explanation(
        "Tool call arguments are not JSON",
        "The arguments of a call are a JSON object as text; anything else would teach calls that no program can read.",
        "Write the arguments with a JSON library.",
    ),
    "E-TXT-016": Explanation(
        "Row of another objective",
        "The objective needs another kind of row: `sft` one answer to imitate, `dpo` two answers to compare.",
        "Choose the objective that fits the rows, or write rows that fit it.",
    ),
    "E-TXT-017": Explanation(
        "Unknown tool template",
        "No tool template has this name, or the one named does not fit the base.",
        "Say `tool_template: auto`.",
    ),
    "E-TXT-018": Explanation(
        "Content that is not text",
        "The row holds an image or audio, which the engine of this version cannot read.",
        "Take these rows out, or describe the picture as text.",
    ),
    "E-TXT-019": Explanation(
        "No chat template",
        "The row is a conversation, but the model comes without a chat template.",
        "Name an instruction-tuned base, or train on rows of plain text.",
    ),
    "E-TXT-020": Explanation(
        "Two answers that are one",
        "The chosen and the rejected answer come out as the same tokens, so the pair says nothing.",
        "Take the row out, or look for what the template leaves out of the answers.",
    ),
}
