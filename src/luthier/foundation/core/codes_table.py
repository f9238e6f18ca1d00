"""What each error code means and how it is mended: the text of `luthier explain` and `docs/errors.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from luthier.foundation.core.codes_curation_table import CURATION_EXPLANATIONS
from luthier.foundation.core.codes_release_table import RELEASE_EXPLANATIONS
from luthier.foundation.core.codes_text_table import TEXT_EXPLANATIONS
from luthier.foundation.core.codes_watch_table import WATCH_EXPLANATIONS
from luthier.foundation.core.explanation import Explanation

if TYPE_CHECKING:
    from luthier.foundation.core.codes import ErrorCode

EXPLANATIONS: Final[dict[ErrorCode, Explanation]] = {
    "E-REC-001": Explanation(
        "Unknown recipe key",
        "A key that no section declares would be ignored by a laxer tool, and the run would not be the one you wrote.",
        "Use the nearest name that the message shows, or look at `luthier recipe schema`.",
    ),
    "E-REC-002": Explanation(
        "Value not allowed",
        "The key exists, but its value has the wrong type or lies outside the range that the section declares.",
        "Give one of the values that the message allows; `luthier recipe show` prints every value with its origin.",
    ),
    "E-REC-003": Explanation(
        "Required key missing",
        "Some values have no default that could be right for everybody, such as a recipe's name and its sources.",
        "Add the key at the place that the message names.",
    ),
    "E-REC-004": Explanation(
        "Key given twice",
        "Most loaders keep the last of two equal keys silently, and half of what you wrote would be lost.",
        "Keep one of the two lines that the message names.",
    ),
    "E-REC-005": Explanation(
        "Recipe cannot be read",
        "The file is missing, is a folder, or is not UTF-8 text.",
        "Check the path, or save the file as UTF-8.",
    ),
    "E-REC-006": Explanation(
        "Not a recipe",
        "The text is not YAML or JSON, is empty, or is something else than one mapping of keys to values.",
        "Mend the line that the message names; `luthier recipe schema` lets an editor check as you type.",
    ),
    "E-REC-007": Explanation(
        "Recipe beyond its bounds",
        "Recipes are bounded in bytes, depth and what YAML aliases unfold to, so that no file can fill the memory.",
        "Write less: name large lists of rows as data, not as recipe.",
    ),
    "E-REC-008": Explanation(
        "Settings contradict each other",
        "Every value is allowed by itself, but two of them cannot hold together, so one would silently lose.",
        "Change one of the settings that the message names.",
    ),
    "E-REC-009": Explanation(
        "Override not understood",
        "`--set` takes `dotted.key=value`; the value is YAML, and a list is replaced as a whole.",
        "Write it like `--set train.epochs=1` or `--set 'evaluate.suites=[forgetting]'`.",
    ),
    "E-REC-010": Explanation(
        "Not built yet",
        "The name is part of the design, but this version has no such stage, family or plug-in.",
        "Leave it out, or stop before it with `--until STAGE`.",
    ),
    "E-REC-011": Explanation(
        "Unknown plug-in",
        "Names resolve only through the registry, so nothing is imported by accident.",
        "Pick a name from `luthier list FAMILY`.",
    ),
    "E-REC-012": Explanation(
        "Plug-in name clash",
        "Two distributions offer a plug-in of one name; built-ins win no ties, so neither is taken silently.",
        "Uninstall one of the two distributions that the message names.",
    ),
    "E-REC-013": Explanation(
        "Variable outside a path",
        "Variables are expanded in paths alone, so that no secret can end in a record and no text changes by machine.",
        "Write the value itself, or move the variable into a path.",
    ),
    "E-REC-014": Explanation(
        "Command not understood",
        "The command line names something that does not exist, or leaves out what it needs.",
        "Ask the command itself with `--help`.",
    ),
    "E-REC-015": Explanation(
        "Unexpected failure",
        "A fault of this program, not of your input. What was saved before is intact, and the details are in a file.",
        "Run it again; if it stays, report it with the file that the message names.",
    ),
    "E-REC-016": Explanation(
        "Plug-in cannot be loaded",
        "A distribution announces the plug-in by an entry point, but its package is missing, incomplete or fails.",
        "Update or uninstall the distribution that the message names.",
    ),
    "E-ENV-001": Explanation(
        "Missing optional packages",
        "The feature needs an extra that is not installed; the core stays small.",
        "Run the install line that the message shows.",
    ),
    "E-ENV-002": Explanation(
        "Variable not set",
        "A path in the recipe names an environment variable that has no value.",
        "Set it, for example `export LUTHIER_DATA=/path/to/data`.",
    ),
    "E-ENV-003": Explanation(
        "Not enough disk",
        "Writes are atomic: when the disk is full nothing is half written and what was there stays.",
        "Free the space that the message names, or run `luthier gc`.",
    ),
    "E-DAT-001": Explanation(
        "Source cannot be read",
        "A source or evaluation set names a file or folder that does not exist or may not be read.",
        "Check the path: it is relative to the recipe, and `${VAR}` is expanded.",
    ),
    "E-DAT-002": Explanation(
        "No rows in the file",
        "An empty file as a source is nearly always a mistake of the step before; training without it would hide that.",
        "Write the rows again, or take the source out of the recipe.",
    ),
    "E-DAT-003": Explanation(
        "Row is not a JSON object",
        "One line must hold one whole JSON object; a row that is skipped in silence is lost in silence.",
        "Mend the line that the message names; `luthier data check FILE` lists all of them.",
    ),
    "E-DAT-004": Explanation(
        "Line or file too long",
        "A line may have 16 MiB and a JSON document 256 MiB, so that a broken file cannot fill the memory.",
        "Put one JSON object on each line (JSONL).",
    ),
    "E-DAT-005": Explanation(
        "Damaged compressed file",
        "The compressed stream ends early or does not unpack; the rows before the break are not the whole file.",
        "Copy or compress the file again.",
    ),
    "E-DAT-006": Explanation(
        "Not UTF-8",
        "Rows are UTF-8; guessing an encoding would plant wrong letters in the training data.",
        "Convert the file, for example `iconv -f WINDOWS-1252 -t UTF-8 IN > OUT`.",
    ),
    "E-DAT-007": Explanation(
        "Mixed forms in one file",
        "The rows of one source must have one form, else one half would be read wrongly.",
        "Put each form into a file of its own, or name the form with `form:`.",
    ),
    "E-DAT-008": Explanation(
        "Value that cannot be kept exactly",
        "Rows are stored as canonical JSON: whole numbers beyond 2**53, NaN, infinities and half surrogate pairs have no exact form there.",
        "Write the value as text.",
    ),
    "E-DAT-009": Explanation(
        "More bad rows than are shown",
        "The first 20 bad rows are shown, all are counted.",
        "`luthier data check FILE` lists what is wrong; mend the file and run again.",
    ),
    "E-DAT-010": Explanation(
        "No source",
        "Stage 1 needs at least one source to read.",
        "Add `data: {sources: [{path: data/train.jsonl}]}` to the recipe.",
    ),
    "E-DAT-011": Explanation(
        "Nothing left",
        "The operators dropped every row, so there is nothing to train on.",
        "See the waterfall in the message; take the operator out or mend the source.",
    ),
    "E-DAT-012": Explanation(
        "Empty split",
        "A split that the recipe asks for got no rows: too few rows, or all of them in one group.",
        "Give more rows, another `split.by`, or set that fraction to 0.",
    ),
    "E-DAT-013": Explanation(
        "Column of split.by missing",
        "`split.by` names a column that a row does not have, so that what belongs together could be torn apart.",
        "Name a column that every row has, or `conversation`.",
    ),
    "E-DAT-014": Explanation(
        "Split name used twice",
        "An evaluation set has the name of a split that the recipe also cuts from the sources.",
        "Rename the set, or set that fraction to 0.",
    ),
    "E-DAT-015": Explanation(
        "Conversation without an answer",
        "The last turn is not the assistant's, so the row ends in a question that nobody answers.",
        "Add the answer, or say `operators: [{type: empty, unanswered: trim}]`.",
    ),
    "E-DAT-016": Explanation(
        "Unknown row",
        "Nothing with this id or line is in the data set.",
        "`luthier data show` lists ids; a line is named as FILE:LINE.",
    ),
    "E-DAT-017": Explanation(
        "Bad operator options",
        "An operator's options do not fit its configuration.",
        "`luthier list operators` and docs/operators name the options.",
    ),
    "E-DAT-018": Explanation(
        "Broken operator",
        "An operator did not answer for every row exactly once, so rows would vanish without a trace.",
        "Report it to the author of the operator; take it out of the list meanwhile.",
    ),
    **TEXT_EXPLANATIONS,
    "E-MOD-001": Explanation(
        "Unsafe model folder",
        "Pickles, code files and configurations that name code or kernels run somebody else's program when a model is loaded.",
        "Use a copy of the model with safetensors and plain JSON only.",
    ),
    "E-MOD-002": Explanation(
        "Incomplete or damaged model folder",
        "A file that the model needs is missing, truncated or not what its name says; loading it would fail late or silently be another model.",
        "Copy or pull the model again.",
    ),
    "E-MOD-003": Explanation(
        "GGUF that is not converted",
        "Only architectures, number formats and tokenizers known to come out exactly are converted; a guess would give other numbers.",
        "Use a folder with safetensors of the same model.",
    ),
    "E-MOD-004": Explanation(
        "Unknown base",
        "The name is neither in the catalogue nor on the hub, nor a folder or GGUF file on this machine.",
        "Run `luthier model list`, or give a path.",
    ),
    "E-MOD-005": Explanation(
        "Pulled base was changed",
        "The cached files differ from the manifest written when they were pulled, so results would not repeat.",
        "Run `luthier model pull NAME`: it brings the base again.",
    ),
    "E-MOD-006": Explanation(
        "Package or weights are not the pinned ones",
        "A catalogue name means one digest everywhere, and the hub states one of each file. What came has another.",
        "Check which package index pip is configured for, or which hub HF_ENDPOINT names.",
    ),
    "E-MOD-007": Explanation(
        "Licence does not allow the use",
        "The licence table denies the use that the recipe declares in `govern.use`.",
        "Choose another base, or declare the use that is true.",
    ),
    "E-MOD-008": Explanation(
        "Licence unknown",
        "No licence is known for this folder, so the declared use cannot be judged.",
        "State it: `model: {license: Apache-2.0}` or `LicenseRef-own` for your own model.",
    ),
    "E-ENV-004": Explanation(
        "Fetch failed",
        "The package index or the hub could not be reached, or did not answer as it should.",
        "Check the network, pip's configuration or HF_ENDPOINT, or copy a model folder by hand and name its path.",
    ),
    "E-ENV-005": Explanation(
        "Base not pulled",
        "A recipe or command names a model that is not in this machine's cache; nothing is fetched unless it is asked for.",
        "Run `luthier model pull NAME` once.",
    ),
    "E-PLN-001": Explanation(
        "Does not fit the memory",
        "The estimate of the peak passes the limit, so the run would be killed somewhere in the middle.",
        "Take the cheapest change that the message names.",
    ),
    "E-PLN-003": Explanation(
        "No rows to train on",
        "After the checks no row is left.",
        "Look at `luthier data curate RECIPE`: its table says where the rows went.",
    ),
    "E-PLN-004": Explanation(
        "Length beyond the model's context",
        "`train.max_length` passes the positions that the base was made for.",
        "Set `train.max_length` to the base's limit.",
    ),
    "E-PLN-005": Explanation(
        "Not a memory size",
        "`plan.memory_limit` is `auto` or a number with GiB, MiB, GB or MB.",
        "Write for example `plan: {memory_limit: 8 GiB}`.",
    ),
    "E-TRN-001": Explanation(
        "Loss is not a number",
        "A step produced NaN or infinity. Its update was not applied, so the weights and every checkpoint are still good.",
        "Lower `train.learning_rate`, or set `plan.precision: fp32`.",
    ),
    "E-TRN-002": Explanation(
        "Loss diverged",
        "For twenty steps in a row the smoothed loss was above that of the first steps and more than one nat above its own best: the model is unlearning, and more steps would not bring it back.",
        "Lower `train.learning_rate` tenfold; `auto` takes a published fit.",
    ),
    "E-TRN-003": Explanation(
        "Training interrupted",
        "Ctrl-C or SIGTERM arrived; the step in progress was finished and saved.",
        "Run the same command again: it goes on from there and ends with the same weights.",
    ),
    "E-TRN-004": Explanation(
        "Checkpoint of another run",
        "The folder holds a checkpoint that another recipe, data set or seed made; mixing two runs gives weights that nobody can explain.",
        "Move that folder away; the message has the command.",
    ),
    "E-TRN-005": Explanation(
        "Checkpoint does not fit",
        "The tensors saved are not exactly those that this run trains; leaving the rest at a default would go wrong silently.",
        "Use the versions that wrote the checkpoint, or move the run's folder away.",
    ),
    "E-TRN-006": Explanation(
        "Checkpoint damaged",
        "A file differs from its digest. Nothing is trusted because it exists.",
        "Run the same command again: the damaged checkpoint is set aside and an older one is taken.",
    ),
    "E-TRN-007": Explanation(
        "Empty validation set",
        "The plan validates, but the validation split has no rows that can be scored, so no best checkpoint could be told.",
        "Set `data.split.validation` above 0, or `train.evaluations: 0`.",
    ),
    "E-TRN-008": Explanation(
        "Rows are not the planned ones",
        "The training rows are missing, or make other optimizer steps than the plan counts.",
        "Run the plan again: `luthier run RECIPE --until plan`.",
    ),
    "E-ENG-001": Explanation(
        "Weights that are not safetensors",
        "A pickle runs code when it is loaded; safetensors cannot.",
        "Save the weights as safetensors and remove the pickled files.",
    ),
    "E-ENG-002": Explanation(
        "Model with code of its own",
        "Code from a model folder runs with your rights; only architectures that transformers knows are loaded.",
        "Use a version of the model without `auto_map` in config.json.",
    ),
    "E-ENG-003": Explanation(
        "Rank above a layer's width",
        "Two thin matrices of that rank hold more than the layer that they adapt.",
        "Lower `train.method.rank` as the message shows.",
    ),
    "E-ENG-004": Explanation(
        "Target module that matches nothing",
        "An adapter on a layer that does not exist would train nothing, silently.",
        "Use a name that the message lists, or `all_linear`.",
    ),
    "E-ENG-005": Explanation(
        "Adapter of another base",
        "An adapter is a difference; on other weights it means nothing.",
        "Name the base that the message shows.",
    ),
    "E-ENG-006": Explanation(
        "First token trained",
        "A token is predicted from those before it; a row's first has none.",
        "Begin the row with a system or user message.",
    ),
    "E-ENG-007": Explanation(
        "Model folder cannot be loaded",
        "The configuration, a weight or the head is not one that this version can reproduce.",
        "Run `luthier model check FOLDER`, or choose another base.",
    ),
    "E-ENG-008": Explanation(
        "Architecture that cannot be packed",
        "Its layers do not attend through the interface that keeps rows apart, so rows run one at a time.",
        "Nothing to do under `luthier train`; in Python, load with `attention='plain'`.",
    ),
    "E-ENG-009": Explanation(
        "Trained weights that do not fit",
        "The saved tensors are missing, damaged or of another model or method.",
        "Name the base and method that they were trained with, or train again.",
    ),
    "E-ENG-010": Explanation(
        "Method that cannot be switched off",
        "The method overwrites the base, so base and tuned cannot share one copy of the weights.",
        "Load the base a second time.",
    ),
    "E-EVA-001": Explanation(
        "No room for an answer",
        "A prompt that is empty, or that fills the base's positions, would be cut; an answer to half a question measures nothing.",
        "Lower `max_new_tokens`, or leave out the rows that the message names.",
    ),
    "E-EVA-002": Explanation(
        "The base cannot be told the answers",
        "`base_told` lists the allowed answers in the prompt, which is possible only where the training rows have a few short ones.",
        "Leave `base_told` out of `evaluate.systems`.",
    ),
    "E-EVA-003": Explanation(
        "Unknown set of rows",
        "A suite names rows that the data stage did not make.",
        "Say `on: test`, `on: validation`, or a name under `data.evaluation`.",
    ),
    "E-EVA-004": Explanation(
        "Nothing to evaluate",
        "A suite without questions has no number, and a gate on it would promise nothing.",
        "Give the set rows that hold an assistant's answer, or choose another set.",
    ),
    "E-EVA-005": Explanation(
        "Suites share a name",
        "Metrics are named `suite.metric`; two suites of one name would be one.",
        "Give one of them another `name`.",
    ),
    "E-EVA-006": Explanation(
        "A gate on a metric that is not measured",
        "A gate that is never computed would pass silently.",
        "Use a metric that a suite measures; the message lists them.",
    ),
    "E-EVA-007": Explanation(
        "A gate that says nothing",
        "A gate needs one rule: `above` or `not_worse_than`, against a system that is compared.",
        "Write, for example, `{metric: task.exact_match, above: base}`.",
    ),
    "E-EVA-008": Explanation(
        "Stored answers are damaged",
        "The file of answers so far has a line that cannot be read in its middle; only its last may be unfinished.",
        "Remove the file that the message names; the questions are asked again.",
    ),
    "E-EVA-009": Explanation(
        "A metric that does not fit the rows",
        "The metric needs something that these rows do not have.",
        "Choose another metric for the suite; see `luthier list metrics`.",
    ),
    "E-EVA-010": Explanation(
        "No base to measure the gain against",
        "The suite compares the tuned model's log-probabilities with those of its base, and the base is not asked.",
        "Say `systems: [base, tuned]`.",
    ),
    "E-EVA-011": Explanation(
        "No training rows to show or to copy",
        "`base_few_shot` shows training rows and `copy` repeats their answers; both need rows with the questions' system message.",
        "Leave `base_few_shot` and `copy` out of `evaluate.systems`.",
    ),
    "E-STO-001": Explanation(
        "Workspace of a newer version",
        "An older program would misread what a newer one wrote, so nothing is touched.",
        "Update luthier, or name another folder with `--workspace DIR`.",
    ),
    "E-STO-002": Explanation(
        "Missing blob",
        "A record names bytes that are no longer in the workspace; nothing is guessed in their place.",
        "Run the recipe again: the stage that made the blob is run anew.",
    ),
    "E-STO-003": Explanation(
        "Damaged blob",
        "The bytes differ from their digest. Nothing is trusted because it exists.",
        "Run the recipe again: the stage that made the blob is run anew.",
    ),
    "E-STO-004": Explanation(
        "No such record",
        "The digest, or the beginning of one, names no record of this workspace, or more than one.",
        "Give more digits, or pick one from `luthier runs`.",
    ),
    "E-STO-005": Explanation(
        "Damaged workspace",
        "A record or the database itself differs from what was written.",
        "Restore `.luthier/luthier.db` from a copy, or move the folder away and run again.",
    ),
    "E-STO-006": Explanation(
        "Value without a canonical form",
        "Digests rest on RFC 8785, which has no form for integers beyond 2**53, NaN or broken Unicode.",
        'Store such a value as text, for example "9007199254740993".',
    ),
    "E-STO-007": Explanation(
        "Workspace not usable",
        "The database stayed locked by another process, or its file cannot be opened or written.",
        "Wait for the other process, or check the rights of the `.luthier` folder.",
    ),
    "E-STO-008": Explanation(
        "Lock lost",
        "Another process took this execution over because this one gave no sign of life; two writers would mix their work.",
        "Run again: it attaches to the other process or goes on from what is saved.",
    ),
    "E-PLN-007": Explanation(
        "Fewer rows than asked for",
        "The plan is to fix so many rows, and the training split does not hold them after split, selection and checks.",
        "Lower `plan.num_examples`, leave it out to take all rows, or raise `data.select.fraction`.",
    ),
    "E-PLN-006": Explanation(
        "No row fits the time",
        "`plan.minutes` is shorter than training on a single row is estimated to take.",
        "Give more minutes, or fewer epochs.",
    ),
    "E-ENV-006": Explanation(
        "Speed not measured",
        "The plan asks a child process how fast this machine multiplies matrices, and it did not; torch may be broken, or the machine is busy.",
        "Run `luthier doctor`.",
    ),
    "E-MOD-009": Explanation(
        "No chat template",
        "A conversation is written by the base's own template; without one, training and serving would each invent another.",
        "Use an instruction-tuned base, or add chat_template.jinja to the folder.",
    ),
    "E-MOD-010": Explanation(
        "Not a base",
        "The model turns sentences into vectors; it has no head that writes, so it can be neither tuned nor asked.",
        "Name a causal language model.",
    ),
    "E-ENV-007": Explanation(
        "Hub wants a token",
        "The model is private, or its owner gives it only to those who have accepted its terms.",
        "Accept the terms on the model's page and set HF_TOKEN; it is sent to the hub alone and never shown.",
    ),
    "E-LIF-001": Explanation(
        "Stage not built",
        "The lifecycle knows the stage by name, but this version cannot run it.",
        "Stop before it with `--until STAGE`.",
    ),
    "E-LIF-002": Explanation(
        "Unknown stage",
        "The corridor has seven stages, and only their names end it.",
        "Use one of the names that the message shows.",
    ),
    "E-LIF-003": Explanation(
        "Stage failed unexpectedly",
        "The stage met an error that it does not know. What was saved is intact; the traceback lies in the stage's folder.",
        "Read the file that the message names, then run again; it goes on from what is saved.",
    ),
    "E-LIF-004": Explanation(
        "Stage not declared in NEEDS",
        "A stage may call only the stages that it declares, so that lineage is known and no two stages wait for each other.",
        "Add the name to `NEEDS` of the calling stage.",
    ),
    "E-LIF-005": Explanation(
        "Interrupted",
        "Ctrl-C or SIGTERM arrived; state was saved at the last safe point.",
        "Run the same command again; it goes on.",
    ),
    "E-LIF-006": Explanation(
        "Stage broke its contract",
        "A stage must return its own kind of record, and refreshing a reused one may not change its identity.",
        "Mend the stage; `luthier.foundation.schema.protocols` says what it must return.",
    ),
    "E-LIF-007": Explanation(
        "Unknown reference",
        "The name is neither base, a run, a release, a path nor an address that this workspace can find.",
        "Pick a run from `luthier runs`, or give a folder.",
    ),
    "E-LIF-008": Explanation(
        "Not a model",
        "The path holds neither a model folder, nor a PEFT adapter, nor a GGUF file, or the adapter belongs to another base.",
        "Give a folder with config.json or adapter_config.json and safetensors files.",
    ),
    "E-LIF-009": Explanation(
        "Nothing to resume",
        "`--resume` takes up a run that was begun with this very recipe, rows and base; there is none.",
        "Leave out `--resume` to begin one, or put back what was changed; `luthier runs` lists what was begun.",
    ),
    "E-LIF-010": Explanation(
        "Address that cannot be used",
        "A model behind an address needs a host and, after `#`, the name that requests ask for; a password in it would be shown and stored.",
        "Write `http://HOST:PORT/v1#MODEL`, and name a key's environment variable with `--api-key-env`.",
    ),
    "E-LIF-011": Explanation(
        "An address has no files",
        "What serves, certifies or weighs a model needs its files; behind an address there are only answers.",
        "Give the folder, the run or the release; `chat`, `generate` and `compare` take an address.",
    ),
    **CURATION_EXPLANATIONS,
    **RELEASE_EXPLANATIONS,
    **WATCH_EXPLANATIONS,
}
