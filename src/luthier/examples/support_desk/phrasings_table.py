"""How customers ask, for each kind of request: one phrasing a line, first those of training, then those held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Phrasings:
    """Ways to ask for one thing; ``{order}``, ``{days}`` and the like are filled with a case's facts."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]


def _lines(training: str, held_out: str) -> Phrasings:
    return Phrasings(tuple(training.strip().splitlines()), tuple(held_out.strip().splitlines()))


PHRASINGS: Final[dict[str, Phrasings]] = {
    "status": _lines(
        """
Where is my order {order}?
Where is the {item} from order {order}?
When will order {order} get here?
Has order {order} been sent?
I am still waiting for order {order}.
Can you look up order {order} for me?
Any news on order {order}?
What is happening with order {order}?
My {item} has not come, the order is {order}.
Order {order} should have been here by now.
Please check where order {order} is.
Could you tell me the status of order {order}?
Did you send my {item} yet? It is order {order}.
I would like to know where order {order} has got to.
How far along is order {order}?
The {item} is late. Order number {order}.
Status of {order}, please.
Is order {order} on its way?
I cannot find my parcel for order {order}.
Has the {item} of order {order} left yet?
Do you know where {order} is right now?
Give me an update on order {order}.
Nobody has told me anything about order {order}.
Order {order}: is it coming this week?
I have heard nothing about my {item}, order {order}.
My order is {order}, where has it got to?
Could somebody find out what became of order {order}?
Tracking for order {order} does not work, where is it?
""",
        """
What has become of order {order}?
Can I get an update about {order}? The {item} is not here.
Please find out how order {order} is doing.
The {item} I bought has not turned up, it was order {order}.
Is there any sign of order {order}?
I wonder where order {order} might be.
""",
    ),
    "cancel": _lines(
        """
Cancel order {order}, {state}.
Please cancel order {order}, {state}.
I want to cancel order {order}, I see {state}.
Can I still cancel {order}? I think {state}.
I no longer need the {item}, cancel order {order}. I see {state}.
Order {order} was a mistake, cancel it. I know {state}.
Stop order {order}, please. The site says {state}.
I changed my mind about order {order}, and {state}.
My page says {state}, please cancel {order}.
It says {state}. Cancel order {order} for me.
I bought the {item} twice. Cancel {order}, {state}.
Call off order {order}, {state}.
Since {state}, I want order {order} cancelled.
Could you cancel order {order}? It says {state}.
Do not send order {order}, I want it cancelled; {state}.
I ordered the wrong {item}. Cancel {order}, {state}.
Would you cancel {order} for me, {state}?
Cancel my {item}, order {order}, {state}.
We found it cheaper, so cancel order {order}; {state}.
Order {order} is not needed now, {state}. Cancel it.
I looked and {state}. Please cancel order {order}.
As far as I see {state}, so cancel {order}.
Drop order {order}, please, {state}.
My mail says {state}, but I want to cancel {order}.
About order {order}: {state}, and I would like to cancel.
I have to cancel {order}. According to you {state}.
Is cancelling order {order} possible when {state}?
I need order {order} cancelled today, {state}.
""",
        """
I have no more use for order {order} and want to cancel; {state}.
Scrap order {order}, please: {state}.
Kindly cancel {order}, the tracker tells me {state}.
May I back out of order {order}? I believe {state}.
Order {order} can be cancelled, I hope; {state}.
The {item} is too big, cancel {order}. My app shows {state}.
""",
    ),
    "address": _lines(
        """
Send order {order} to {city}, please.
I moved. Please send order {order} to {city}.
Change the address of order {order} to {city}.
My new address for order {order} is in {city}.
Can order {order} go to {city} instead?
Please deliver {order} to my flat in {city}.
I now live in {city}, change order {order}.
Order {order} must go to {city}.
The address of {order} is wrong, it should be {city}.
Could you send the {item} to {city}? It is order {order}.
Redirect order {order} to {city}.
I gave you the wrong town for {order}, I meant {city}.
We are moving to {city}, so send order {order} there.
Deliver order {order} to my office in {city}.
Update the address on order {order}: {city}.
Instead of my home, send {order} to {city}.
My {item}, order {order}, should go to {city}.
I will be in {city} next week, send order {order} there.
Is it possible to have order {order} delivered in {city}?
Please put {city} as the address for order {order}.
New address: {city}. Order {order}.
For order {order} use the {city} address.
The {item} of order {order} is for my mother in {city}, send it there.
I want order {order} sent to {city}.
Ship {order} to {city} and not to my old place.
Let order {order} go to my sister in {city}.
Wrong address on order {order}! It belongs in {city}.
Could {order} come to {city} instead of here?
""",
        """
Please reroute order {order}, I have moved to {city}.
The parcel for {order} has to reach me in {city} now.
My home is in {city} these days, so alter order {order}.
I would rather receive order {order} in {city}.
Have {order} brought to {city}, please.
Order {order} has an old address; {city} is right.
""",
    ),
    "refund": _lines(
        """
I want {amount} euros back for order {order}.
Please refund {amount} euros for order {order}.
Order {order} came damaged, I ask for {amount} euros.
You charged {amount} euros too much for order {order}.
Can I have {amount} euros back? Order {order}.
The {item} was broken, refund {amount} euros for {order}.
Give me back {amount} euros for order {order}.
I paid {amount} euros for the {item} in {order} and want it back.
My refund for order {order} should be {amount} euros.
Order {order} was short of a {item}, that is {amount} euros.
Please pay back the {amount} euros of order {order}.
A refund of {amount} euros for {order}, please.
I am owed {amount} euros on order {order}.
You promised me {amount} euros for order {order}.
Return {amount} euros to my card for order {order}.
For order {order} I would like {amount} euros refunded.
The {item} never came. I want my {amount} euros, order {order}.
Transfer {amount} euros back for order {order}.
Could you refund the {amount} euros for {order}?
It was {amount} euros less on your site, refund that for {order}.
I need {amount} euros returned on order {order}.
How do I get {amount} euros back for {order}?
I expect {amount} euros for the scratched {item}, order {order}.
Money back please: {amount} euros, order {order}.
Because of the delay with {order} I want {amount} euros back.
Order {order} cost {amount} euros too much.
Please credit {amount} euros for order {order}.
There is a mistake in order {order}, you owe me {amount} euros.
""",
        """
Kindly reimburse {amount} euros, it is order {order}.
I would like to see {amount} euros again for order {order}.
Order {order} had a dent, so I claim {amount} euros.
Put {amount} euros back on my account for {order}.
The {item} in {order} is faulty and I want {amount} euros for it.
I was overcharged on order {order} by {amount} euros.
""",
    ),
    "return": _lines(
        """
I want to return order {order}, it came {days} days ago.
Can I send back order {order}? I got it {days} days ago.
Order {order} arrived {days} days ago and I want to return it.
The {item} does not fit. Order {order}, delivered {days} days ago.
I have had order {order} for {days} days, can it go back?
Please take back order {order}, I got it {days} days ago.
It is {days} days since order {order} came. I want to return it.
I do not like the {item} from {order}. It came {days} days ago.
Return order {order}, delivered {days} days ago.
After {days} days, may I return order {order}?
My {item} came {days} days ago, order {order}. I want to send it back.
How do I return {order}? It was delivered {days} days ago.
You delivered order {order} {days} days ago, please take it back.
The {item} of order {order} is too small, I have had it {days} days.
I received {order} {days} days ago and would like to give it back.
Is a return of {order} possible {days} days after delivery?
We got order {order} {days} days ago. It must go back.
Wrong colour! Order {order} came {days} days ago, I return it.
Order {order} has been here {days} days, I want to return it.
{days} days ago you brought order {order}. Can I return it?
I would like to send the {item} back, order {order}, {days} days old.
Delivered {days} days ago: order {order}. I wish to return it.
Take the {item} back, please. Order {order}, got it {days} days ago.
The delivery of {order} was {days} days ago, can I return it?
I am sending back order {order}, which came {days} days ago.
Please arrange a return for {order}, here for {days} days.
It took me {days} days to open order {order}. I want to return it.
Order {order}: returned after {days} days, is that fine?
""",
        """
The {item} is not for me, it has been here {days} days. Order {order}, return it.
I wish to give order {order} back, it reached me {days} days ago.
Would you take {order} again? It came in {days} days ago.
Order {order} got to us {days} days ago and we will not keep it.
May order {order} be returned? We have had it for {days} days.
Since order {order} came {days} days have passed. Can I hand it back?
""",
    ),
    "warranty": _lines(
        """
The {item} broke after {months} months, order {order}.
Order {order} is {months} months old and does not work any more.
My {item} stopped working. Order {order}, {months} months ago.
Can you repair the {item}? It is {months} months old, order {order}.
After {months} months the {item} of order {order} is broken.
I bought order {order} {months} months ago, now it is faulty.
Is order {order} still under warranty after {months} months?
The {item} from {order} failed after {months} months.
I have had the {item} for {months} months and it broke. Order {order}.
Please fix order {order}, it is {months} months old.
Does the warranty cover order {order}? It is {months} months old.
It lasted {months} months only, order {order}. Can it be fixed?
My {item} is dead after {months} months, order {order}.
Order {order} needs a repair, I bought it {months} months ago.
{months} months old and broken: order {order}.
Will you mend the {item} of {order}? I got it {months} months ago.
I need a repair for {order}, delivered {months} months ago.
The {item} cracked, order {order}, {months} months old.
Warranty for {order}, please. It is {months} months old.
It is {months} months since I bought {order}, and it broke.
Order {order} gave up after {months} months.
The {item} that I got {months} months ago is defective, order {order}.
Something broke in order {order} after {months} months.
I got order {order} {months} months ago and it needs fixing.
Would you repair order {order} when it is {months} months old?
My {months} months old {item} fell apart, order {order}.
I claim the warranty on order {order}, which is {months} months old.
A fault after {months} months in order {order}. Who repairs it?
""",
        """
My {item} quit on me {months} months after I bought it, order {order}.
Could order {order} be mended? It has worked for {months} months.
The {item} in {order} is out of order, age {months} months.
I have used order {order} for {months} months and now it is bust.
Order {order}, now {months} months old, has gone wrong.
Am I covered for {order}? It is broken and {months} months old.
""",
    ),
    "dispatch": _lines(
        """
I placed order {order} at {time}, when does it ship?
Order {order} was placed at {time}. Does it ship today?
I ordered at {time}, number {order}. When do you send it?
When will {order} ship? I ordered at {time}.
My order {order} is from {time}, when does it leave?
At {time} I placed order {order}. Will it go out today?
Does order {order} leave today? I placed it at {time}.
I bought the {item} at {time}, order {order}. When does it ship?
It was {time} when I placed order {order}. When is it sent?
Order {order}, placed at {time}: today or tomorrow?
I ordered the {item} at {time}. Is {order} sent today?
Will order {order} from {time} be posted today?
You got my order {order} at {time}. When do you ship it?
Tell me when order {order} ships, I placed it at {time}.
The {item} was ordered at {time}, when does {order} ship?
I sent order {order} at {time}. Was that in time for today?
Is {time} early enough for order {order} to ship today?
I just ordered, it is {time}. When does {order} go out?
Placed at {time}: order {order}. When is dispatch?
On which day does {order} ship if I ordered at {time}?
My confirmation says {time}, order {order}. When does it ship?
Order {order} went in at {time}. When will you post it?
Can {order} leave today? It was placed at {time}.
I paid for order {order} at {time}, does it go today?
When is order {order} shipped? The time of order is {time}.
{time} was when I ordered {order}. Does it ship today?
Shipping of order {order}, ordered {time}: when?
I wonder when {order} ships, I ordered it at {time}.
""",
        """
My purchase {order} came in at {time}; when will it be on its way?
I hit buy at {time}. Is order {order} leaving today?
Order {order} was made at {time}, so when is it handed to the post?
When does the {item} go out? I ordered {order} at {time}.
Did I make it for today? Order {order}, {time}.
At {time} order {order} was finished, on what day is it sent?
""",
    ),
    "delivery": _lines(
        """
I am a {tier} member and ordered on {date}. When does {order} come?
When will {order} arrive? {tier} member, ordered on {date}.
Order {order} is from {date}, I have {tier}. When is it here?
I have a {tier} membership. Order {order} of {date}, when does it come?
As a {tier} customer, when do I get {order}, ordered on {date}?
On {date} I placed order {order} with {tier}. When does it arrive?
With {tier}, when will order {order} from {date} be here?
My {tier} order {order} was placed on {date}. When will I have it?
By when does order {order} come? I am {tier}, I ordered on {date}.
I ordered {order} on {date} and I am on {tier}. When do I get it?
Please tell me when {order} arrives, {tier}, ordered on {date}.
{tier} member here. Order {order}, {date}. When should it come?
What day does {order} come? It is from {date}, with {tier}.
The {item}, order {order}, was bought on {date} with {tier}. When is it due?
How long for {order}? I am a {tier} member and ordered on {date}.
Ordered on {date}, {tier}, number {order}: when is it due?
When can I expect order {order}? I bought it on {date} and have {tier}.
I need the {item} soon. Order {order}, {date}, {tier} member. When?
Since I am {tier}, when does order {order} of {date} arrive?
Date of order {date}, membership {tier}, order {order}. When is it here?
I joined {tier}. When will you deliver {order}, ordered on {date}?
Order {order} with {tier} delivery from {date}, when is it there?
On what date is {order} here, as I ordered on {date} with {tier}?
My membership is {tier}. I placed {order} on {date}, when does it come?
When is {order} delivered? I am with {tier} and ordered on {date}.
I have {tier} and order {order} dates from {date}. By when is it here?
Could you say when {order} comes? {date}, {tier}.
We ordered {order} on {date} under {tier}, when is it delivered?
""",
        """
Being a {tier} member, by what day will I have {order}? I bought it on {date}.
I purchased {order} on {date}, my level is {tier}. When must I be at home?
Which day should I expect {order}? {tier}, bought on {date}.
{date} is when I ordered {order}; I hold {tier}. When will it reach me?
The {item} in {order} was bought on {date}. I belong to {tier}. When is it coming?
My level is {tier} and {order} was ordered on {date}: what is the day of delivery?
""",
    ),
    "shipping": _lines(
        """
What is the shipping for order {order}? It is {total} euros.
Order {order} comes to {total} euros, what do I pay for shipping?
Is shipping free for order {order}? The total is {total} euros.
How much is shipping on {order}, a total of {total} euros?
My order {order} is {total} euros. Do I pay for shipping?
I spent {total} euros on order {order}, is shipping free?
Do you charge shipping on {order}? It costs {total} euros.
The {item} in order {order} costs {total} euros, how much is shipping?
Shipping costs for {order}, please, it is {total} euros.
With {total} euros in order {order}, what does shipping cost?
Is {total} euros enough for free shipping? Order {order}.
What do you take for sending order {order} of {total} euros?
I pay {total} euros for order {order}. And for shipping?
Tell me the shipping fee of {order}, total {total} euros.
Will I pay shipping on order {order}? I bought for {total} euros.
Order {order}, {total} euros: is shipping extra?
How much does it cost to ship {order}? It is worth {total} euros.
My basket {order} has {total} euros, what is the shipping?
I bought a {item} for {total} euros, order {order}. What is shipping?
For {total} euros, is order {order} shipped free?
Does order {order} ship for free at {total} euros?
What will shipping be on {total} euros, order {order}?
Order {order} is worth {total} euros. What is the cost of shipping?
Shipping for a {item} at {total} euros? Order {order}.
The sum of {order} is {total} euros, do I get free shipping?
What is added for shipping to {order}, which is {total} euros?
I see {total} euros for {order}. Is shipping on top?
Can you send {order} for free? I paid {total} euros.
""",
        """
The bill for {order} says {total} euros; is postage on top of that?
Do I get order {order} sent free, having spent {total} euros?
How much do you want for shipping if {order} comes to {total} euros?
My {item} is {total} euros, order {order}. What do you charge to send it?
At {total} euros, what would it cost to have {order} sent?
Order {order} adds up to {total} euros. Any fee for shipping?
""",
    ),
    "team": _lines(
        """
Who can help me with {topic}? Order {order}.
I need to talk to someone about {topic}, order {order}.
Order {order}: I have a question about {topic}.
I want to speak with a person about {topic}. It is order {order}.
My problem is {topic}, order {order}.
Please pass me on, it is about {topic} in order {order}.
I have trouble with {topic}, order {order}.
There is an issue with order {order}: {topic}.
I am writing because of {topic}, the order is {order}.
It is about {topic}. My order is {order}.
Can somebody look at {topic} for order {order}?
Order {order} again, this time {topic}.
I have a complaint about {topic}, order {order}.
Put me through about {topic}, order {order}.
Who deals with {topic}? My order was {order}.
Someone must look into {topic}, order {order}.
Concerning order {order}, I want to ask about {topic}.
This is about {topic} and order {order}.
Help me with {topic}, please, order {order}.
Could the right team call about {topic}? Order {order}.
I am unhappy with {topic}, order {order}.
Question on {topic}, order {order}.
Which team handles {topic}? Order {order}.
Regarding {order}: {topic}.
What about {topic}? I mean order {order}.
Let me talk about {topic} with the right person, order {order}.
The {item} of order {order}, and {topic}: who helps?
I was told to write to you about {topic}, order {order}.
""",
        """
Find me a colleague who knows about {topic}, my order is {order}.
With order {order} I ran into {topic}.
Would somebody get in touch over {topic}? Order {order}.
The matter is {topic}, and it concerns order {order}.
Whom do I ask about {topic}? I have order {order}.
I hope you can sort out {topic} for {order}.
""",
    ),
    "hours": _lines(
        """
Are you open on {weekday}? I want to fetch order {order}.
Can I pick up order {order} on {weekday}?
I would like to collect {order} on {weekday}, are you there?
Is the shop open on {weekday}? It is about order {order}.
May I come on {weekday} for order {order}?
Do you work on {weekday}? I have order {order}.
I can only come on {weekday}. Order {order}, are you open?
Is anyone there on {weekday}? I want to bring back the {item}, order {order}.
Order {order}: can I fetch it on {weekday}?
On {weekday} I could collect order {order}, does that work?
Will you be open on {weekday}, for order {order}?
Can somebody hand me order {order} on {weekday}?
I plan to visit on {weekday} about {order}. Are you open?
Are you closed on {weekday}? I need to see someone about {order}.
Does {weekday} work for picking up {order}?
My husband will come on {weekday} for order {order}, all right?
Could I drop by on {weekday} with order {order}?
Tell me if you are open on {weekday}, it is for {order}.
I am free on {weekday}, can I get order {order} then?
Is {weekday} a working day for you? Order {order}.
We will fetch the {item} on {weekday}, order {order}. Are you open?
Is support there on {weekday}? My order is {order}.
{weekday} would suit me to pick up {order}. Are you open?
Can I ring you on {weekday} about order {order}?
Do you open on {weekday}? I come for order {order}.
Order {order} is ready, so may I come on {weekday}?
Would {weekday} be fine to collect my {item}, order {order}?
I want to talk about {order} on {weekday}, are you open then?
""",
        """
If I come by on {weekday} for {order}, will the door be open?
I could be there on {weekday} to take order {order}. Is that fine?
Is it possible to fetch {order} from you on {weekday}?
Do you receive customers on {weekday}? I have to get order {order}.
Let me know whether you are open on {weekday}, order {order}.
For order {order} only {weekday} suits me, can I come?
""",
    ),
}
