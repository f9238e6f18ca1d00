"""What the codes of DEP deploy and SRV server mean; see ``codes_table.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from luthier.foundation.core.explanation import Explanation

if TYPE_CHECKING:
    from luthier.foundation.core.codes import ErrorCode

RELEASE_EXPLANATIONS: Final[dict[ErrorCode, Explanation]] = {
    "E-DEP-001": Explanation(
        "Parity broken",
        "Every form of a release must say what the live model said when training ended; one step of the certificate is beyond its contract, and the message names it.",
        "Make the release again from its run with `luthier run RECIPE`; if the step breaks again, report it with the message.",
    ),
    "E-DEP-002": Explanation(
        "Another base",
        "An adapter is merged only onto the very files that it was trained on, by digest; these differ.",
        "Pull the recorded base again, or point `model.base` at the folder that was trained on.",
    ),
    "E-DEP-003": Explanation(
        "Server did not start",
        "The certificate's last step asks a server in a process of its own, and it did not come up.",
        "Run the command that the message shows and read what it says.",
    ),
    "E-DEP-004": Explanation(
        "Probe scores of another plan",
        "The scores that training stored must belong to the plan's probes, else nothing can be compared.",
        "Train again with `luthier train RECIPE`.",
    ),
    "E-DEP-005": Explanation(
        "Head tied otherwise",
        "Where a base uses one tensor for embedding and head, its merged model must too, and the other way round; else the two drift apart when anybody tunes or quantises it.",
        "Export the merged model again.",
    ),
    "E-DEP-006": Explanation(
        "An address does not answer",
        "A server that was asked gave no JSON object with status 200 in time, or left out token ids or log-probabilities.",
        "Start the server, or mend the address; for parity use `luthier serve`.",
    ),
    "E-DEP-007": Explanation(
        "Unknown release",
        "A release is named by its recipe's name, by NAME@DIGEST, by eight digits or more of its digest, or by its folder.",
        "Pick one from `luthier release list`.",
    ),
    "E-DEP-008": Explanation(
        "Release changed",
        "A byte of the release was changed, added or removed since it was made; the message names the file.",
        "Make it again with `luthier run RECIPE`; do not serve this folder.",
    ),
    "E-DEP-009": Explanation(
        "Release folder missing",
        "The record of the release is there, its folder is not.",
        "Run the recipe again: what was trained is reused.",
    ),
    "E-DEP-010": Explanation(
        "No such export",
        "The release does not hold the model in this form.",
        "Add the form to `deploy.exports` and run the recipe again.",
    ),
    "E-DEP-011": Explanation(
        "Target is in the way",
        "An export goes into a folder that does not exist yet or is empty, so that nothing is overwritten.",
        "Name another folder.",
    ),
    "E-DEP-012": Explanation(
        "Nothing to export",
        "No export of `deploy.exports` can be made of this run: method full leaves no adapter.",
        "Add `merged` to `deploy.exports`.",
    ),
    "E-SRV-001": Explanation(
        "Unknown model",
        "A server answers only for the names that it was started with.",
        "Take a name from `GET /v1/models`, or start the server with that reference.",
    ),
    "E-SRV-002": Explanation(
        "No room for the answer",
        "Prompt and answer share the positions that the model was made for; an answer is never cut shorter than was asked without saying so.",
        "Shorten the conversation or ask for fewer tokens.",
    ),
    "E-SRV-003": Explanation(
        "Queue full",
        "More requests wait than the server keeps; it says so at once instead of letting all wait longer.",
        "Ask again in a moment, or start the server with a larger `--max-queue`.",
    ),
    "E-SRV-004": Explanation(
        "Server stops",
        "The server was told to stop: it finishes what runs and takes nothing new.",
        "Send the request again when the server is back.",
    ),
    "E-SRV-005": Explanation(
        "Conversation refused by the template",
        "A model reads conversations as its chat template writes them, and this template cannot write this one.",
        "Mend roles and order of the messages, or serve a model whose template knows them.",
    ),
    "E-SRV-006": Explanation(
        "Worker failed",
        "The thread that computes answers met an error, such as too little memory; the requests under way are lost, the server begins anew once.",
        "Ask again; where it happens again, see the server's log and start it with less in memory.",
    ),
    "E-SRV-007": Explanation(
        "Too many answers at once",
        "All answers of a request are computed together, and a server computes a bounded number together.",
        "Ask for fewer answers, several times.",
    ),
    "E-SRV-008": Explanation(
        "Two models of one name",
        "Requests choose a model by its name, so each name may stand for one model only.",
        "Leave one of the references out, or serve them from two servers.",
    ),
    "E-SRV-009": Explanation(
        "Nothing to serve",
        "Without a reference the newest release of each name is served, and the workspace has no release yet.",
        "Name what to serve, such as `base` or `run:ID`, or make a release with `luthier run`.",
    ),
    "E-SRV-010": Explanation(
        "Key variable not set",
        "Keys are read from an environment variable, so that they stand in no command line; this one is not there or empty.",
        "Set the variable to one or more keys, separated by commas.",
    ),
    "E-SRV-020": Explanation(
        "Body is not JSON",
        "A request is one JSON object in UTF-8; a key given twice, a number that is not finite or nesting without end has no single meaning.",
        "Mend what the message names; client libraries write such bodies by themselves.",
    ),
    "E-SRV-021": Explanation(
        "Body too long",
        "The length is checked before anything is kept, so that nobody can fill the memory.",
        "Send fewer or shorter messages, or start the server with a larger bound.",
    ),
    "E-SRV-022": Explanation(
        "Request too slow",
        "A client that sends a byte now and then would hold its connection for ever and keep others out.",
        "Send the request again; check the network between client and server.",
    ),
    "E-SRV-023": Explanation(
        "Value out of bounds",
        "The field is known, its value has the wrong kind or lies outside what this server allows.",
        "Send one of the values that the message allows.",
    ),
    "E-SRV-024": Explanation(
        "Unknown field",
        "A misspelt field that is ignored would give another answer than the one you asked for.",
        "Use the nearest name that the message shows, or leave the field out.",
    ),
    "E-SRV-025": Explanation(
        "Not supported",
        "The field is part of OpenAI's API, but this server does not do what it asks; ignoring it would give another answer than the one you asked for.",
        "Leave it out, or send the value that asks for nothing.",
    ),
    "E-SRV-026": Explanation(
        "Messages are no conversation",
        "A message has an unknown role or form, or stands where no conversation has it: system first, tools after the call that they answer, the user or a tool last.",
        "Mend the message that is named.",
    ),
    "E-SRV-027": Explanation(
        "Tool is no tool",
        "A tool is a function whose parameters are a JSON Schema of an object; what is none would be shown to the model as it is.",
        "Mend the schema at the place that the message names.",
    ),
    "E-SRV-028": Explanation(
        "API key missing or wrong",
        "The server was started with keys, and answers only who sends one of them.",
        "Send `Authorization: Bearer KEY`; clients read it from `OPENAI_API_KEY`.",
    ),
    "E-SRV-029": Explanation(
        "Open to everybody",
        "A server that other machines can reach needs a key, and a key must be one that a header can carry.",
        "Name a key with `--api-key-env NAME`, or serve on 127.0.0.1.",
    ),
    "E-SRV-030": Explanation(
        "Not HTTP",
        "What came in over the connection is no HTTP/1.1 request.",
        "Use `http://`, not `https://`, and a client that speaks HTTP/1.1.",
    ),
    "E-SRV-031": Explanation(
        "Nothing at this path",
        "The server has no such path.",
        "Set the client's base URL to `http://HOST:PORT/v1`.",
    ),
    "E-SRV-032": Explanation(
        "Unknown error in the server",
        "The server met an error that it does not know; the request is over, the server goes on.",
        "Send it again; the server's log has the cause under the answer's `x-request-id`.",
    ),
    "E-SRV-033": Explanation(
        "Too many connections",
        "Connections are bounded, so that no crowd can take the server down.",
        "Send the request again in a few seconds, or keep connections open and use them again.",
    ),
    "E-SRV-034": Explanation(
        "Body is not said to be JSON",
        "A body of another kind is not read: web pages of other sites can send such bodies from a browser without asking.",
        "Send the header `Content-Type: application/json`.",
    ),
    "E-SRV-035": Explanation(
        "Wrong place",
        "A server without keys answers only requests to this machine's own name that no other site's page has sent.",
        "Use `http://127.0.0.1:PORT`, or start the server with a key.",
    ),
    "E-SRV-036": Explanation(
        "Method not allowed",
        "The path exists, but not for this method.",
        "Send one of the methods that the message allows.",
    ),
    "E-SRV-037": Explanation(
        "Port is no port",
        "A port is a number from 0 to 65535.",
        "Give another `--port`; 0 takes a free one.",
    ),
    "E-SRV-038": Explanation(
        "Cannot listen",
        "The port is taken, or the address is not this machine's, so the server did not start.",
        "Stop the other program, or take a free port with `--port 0`.",
    ),
}
