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
What has become of my order {order}?
Can I get an update about order {order}? The {item} is not here.
Please find out where {order} is at the moment.
The {item} I ordered has still not come, it is order {order}.
Is there any news of order {order} yet?
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
I have no use for order {order} now, so cancel it; {state}.
Please have order {order} cancelled, {state}.
Kindly cancel {order}, I can see {state}.
May I cancel order {order}? I believe {state}.
Order {order} can be cancelled, I hope; I heard {state}.
The {item} is too big, cancel order {order}. My app says {state}.
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
Please send {order} on to {city}, I have moved.
Order {order} has to go to {city} now.
My address is in {city} these days, so change it for order {order}.
I would rather have order {order} sent to {city}.
Have {order} delivered to {city}, please.
The address on order {order} is old; {city} is right.
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
Kindly refund {amount} euros, it is order {order}.
I would like to get {amount} euros back on order {order}.
Order {order} had a dent, so I want {amount} euros back.
Pay {amount} euros back to me for order {order}.
The {item} in {order} was faulty and I want {amount} euros back.
I was charged too much on order {order}, by {amount} euros.
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
The {item} is not for me, it came {days} days ago. Order {order}, I return it.
I wish to return {order}, it arrived {days} days ago.
Would you take back order {order}? It was delivered {days} days ago.
Order {order} got here {days} days ago and has to go back.
May order {order} be returned? We have had it for {days} days.
It is {days} days since I got order {order}. Can I send it back?
""",
    ),
    "delivery": _lines(
        """
I am a {tier} member. How long does order {order} take?
How many days will order {order} take? I have {tier}.
I have {tier}. How long will order {order} be on its way?
With a {tier} membership, how long does {order} take?
As a {tier} customer, how many days do I wait for {order}?
How long is delivery of order {order} with {tier}?
With {tier}, how many days until order {order} is here?
My {tier} order {order}, how long will it take?
How long do I wait for {order}? I am {tier}.
I am on {tier}, how many days does {order} need?
Please tell me how many days {order} takes, I have {tier}.
{tier} member here. How long for order {order}?
What is the delivery time of {order} with {tier}?
The {item}, order {order}, goes with {tier}. How long does that take?
How long for {order}? I am a {tier} member.
{tier}, number {order}: how many days?
In how many days can I expect order {order}? I have {tier}.
I need the {item} soon. Order {order}, {tier} member. How many days?
Since I am {tier}, how fast is order {order}?
Membership {tier}, order {order}. How long is the delivery?
I joined {tier}. How many days do you need for {order}?
Order {order} with {tier} delivery, how long is that?
How fast does {order} come with {tier}?
My membership is {tier}. How many days for order {order}?
How many days is {order} under way? I am with {tier}.
I have {tier} and wait for order {order}. How long does it take?
Could you say how long {order} takes? I have {tier}.
We placed order {order} under {tier}, how many days is that?
""",
        """
Being a {tier} member, how many days do I have to wait for {order}?
My level is {tier}. How long will order {order} take to come?
How many days should I expect for {order}? It is a {tier} order.
I ordered {order} and have {tier}. How long before it comes?
What time does delivery of {order} take? I belong to {tier}.
The {item} in order {order} comes with {tier}, in how many days?
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
The bill for {order} says {total} euros; is shipping on top of that?
Is shipping of order {order} free, as I spent {total} euros?
How much do you want for shipping if {order} costs {total} euros?
My {item} is {total} euros, order {order}. What is the shipping?
At {total} euros, what would shipping cost for order {order}?
Order {order} adds up to {total} euros. Is there a fee for shipping?
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
I need someone who knows about {topic}, my order is {order}.
With order {order} I have a problem: {topic}.
Would somebody talk to me about {topic}? Order {order}.
The trouble is {topic}, and it concerns order {order}.
Whom do I ask about {topic}? I have order {order}.
I hope you can help with {topic} for order {order}.
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
If I come by on {weekday} for {order}, are you open?
I could be there on {weekday} to fetch order {order}. Are you open?
Is it possible to pick up {order} from you on {weekday}?
Do you have open on {weekday}? I have to get order {order}.
Let me know whether you are open on {weekday}, order {order}.
Only {weekday} suits me for order {order}, can I come?
""",
    ),
}
