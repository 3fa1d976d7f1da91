#!/usr/bin/env python3
"""What Jinja2 makes of templates: the truth that tests hold the template engine to.

    python3 -m venv VENV && VENV/bin/pip install jinja2==3.1.6
    VENV/bin/python tests/jinja/reference.py cases > tests/jinja/cases.json
    VENV/bin/python tests/jinja/reference.py templates DIR > tests/jinja/templates.tsv

DIR holds *.jinja; a folder `contexts` of *.json lies in it or beside it. The tests need neither this
nor Python: only `conformance templates` on a folder that is in no table runs it, where it can.
"""
import datetime
import glob
import hashlib
import json
import os
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = 1700000000  # strftime_now's time, UTC: 2023-11-14 22:13:20


class Generation(jinja2.ext.Extension):
    """{% generation %}: what is inside is rendered as it is."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    # Hugging Face's settings, but for the methods that change lists and dicts, which its sandbox
    # refuses and ours does not.
    env = jinja2.sandbox.SandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    def strftime_now(format):
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).replace(
            tzinfo=None).strftime(format)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


def render(text, context):
    """(text, None), or (None, (kind, message)) where it fails."""
    try:
        return environment().from_string(text).render(**context), None
    except Exception as e:  # whatever Python raises is what the template did
        return None, (type(e).__name__, str(e))


# ---- cases

CONTEXT = {
    "n": None, "t": True, "f": False, "i": 7, "neg": -3, "z": 0, "big": 1234567890123, "x": 1.5,
    "whole": 2.0, "tiny": 1e-7, "huge": 1e22, "s": "Hello, World", "e": "", "u": "naïve café Straße ǆ",
    "em": "a😀b", "sp": "  two  words\t\n", "lines": "one\ntwo\r\nthree\n\nfive", "q": "it's \"q\"",
    "q1": "it's", "html": "<a href=\"x\">T&amp;J's</a>", "l": [3, 1, 2], "ls": ["b", "A", "c"],
    "el": [], "nest": [1, [2, [3, "x"]], {"k": [None, True, 1.0]}], "d": {"b": 1, "a": 2, "c": None},
    "ed": {}, "items_d": {"items": "own", "x": 1},
    "users": [{"name": "Ann", "age": 31, "tags": ["x"]}, {"name": "bob", "age": 25, "tags": []},
              {"name": "Cid", "age": 31, "tags": ["y", "z"]}, {"name": "dan"}],
    "msgs": [{"role": "system", "content": "S"}, {"role": "user", "content": "U1"},
             {"role": "assistant", "content": "A1"}, {"role": "user", "content": "U2"}],
    "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}],
}

EXPRESSIONS = """
1
-1
1.0
0.1 + 0.2
1e100
1e16
1e15
123456789012345678
1e-4
1e-5
-0.0
1_000
0x1f
0o17
0b101
true
True
none
None
false
'a' 'b'
"a\\n\\t\\"\\x41\\u00e9\\\\"
'\\q\\''
i + 2
i - 10
i * 3
i / 2
6 / 3
i // 2
neg // 2
neg % 5
i % neg
7.5 // 2
-7.5 // 2
7.5 % 2
-7.5 % 2
i ** 2
2 ** -1
2 ** 0.5
2 ** 3 ** 2
-2 ** 2
+i
- -i
not t
not n
t and 'x'
e or 'y'
t and f or i
1 < 2 < 3
1 < 3 < 2
1 == 1.0
1 == true
'1' == 1
none == false
1 != 2
'a' < 'b'
'a' < 'B'
[1, 2] < [1, 3]
[1] < [1, 0]
(1, 2) == (1, 2)
[1] == (1,)
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
1 in l
5 not in l
'b' in d
'ell' in s
'' in e
'x' in el
missing in l
none in [none]
s ~ i ~ n ~ t ~ x
s + '!'
'ab' * 3
3 * 'ab'
'ab' * -1
[1, 2] * 2
l + [4]
(1,) + (2, 3)
t + t
'%s is %d' % ('x', 3)
'%5.2f|%-5s|%05d|%x|%X|%o|%e|%g|%c|%r|%%' % (3.14159, 'ab', 42, 255, 255, 8, 12345.678, 0.0001, 'z', 'q')
'%(a)s-%(b)03d' % {'a': 'x', 'b': 7}
'%s' % n
'%s' % [1, 'a']
'%+d % d %+.1f' % (3, 4, 5.0)
'%*d|%.*f' % (5, 42, 2, 3.14159)
'%#x %#o' % (255, 8)
'%.3s|%10.3s|' % ('abcdef', 'abcdef')
'%i' % 3.9
'%g %g %g' % (1e10, 123456789.0, 0.00001)
'%G %E' % (1e-10, 1.5)
i if t else 'no'
i if f else 'no'
i if f
'a' if f else 'b' if t else 'c'
1, 2
(1,)
()
(1, 'a', none)
[]
[1, 'a', none, true, 1.5, [2], (3,), {'k': 'v'}]
{}
{'a': 1, 2: 'b', none: true, 1.5: [1]}
{'a': 1, 'a': 2}
l[0]
l[-1]
l[5]
l[1:]
l[:2]
l[::-1]
l[::2]
l[-2:]
l[5:]
l[2:1]
l[1:100]
l[:-1]
l[2::-1]
(1, 2, 3)[1:]
s[0]
s[-1]
s[7:]
s[::-1]
s[1:5:2]
s[100]
s[-3:-1]
u[2]
u[1:4]
em[1]
em[::-1]
em|length
u|length
d['a']
d.a
d.b
d['zz']
d.zz
d.c
d.items()
d.keys()
d.values()
items_d['items']
items_d.keys()|list
l.0
nest.1.1.1
nest[1][1]
nest
nest[2].k
users[0].name
users[0]['tags'][0]
users.0.name
users[-1].age
s.upper()
s.lower()
s.title()
"they're bill's".title()
s.capitalize()
'hELLO wORLD'.capitalize()
u.upper()
u.lower()
u.title()
u.swapcase()
'ß'.upper()
'ﬁ'.title()
'İ'.lower()
s.swapcase()
s.casefold()
sp.strip()
sp.lstrip()
sp.rstrip()
'xxaxx'.strip('x')
'xyaxy'.lstrip('yx')
'xyaxy'.rstrip('yx')
'a b'.strip('')
s.split()
s.split(',')
s.split(', ')
s.split('o', 1)
s.rsplit('o', 1)
s.split('zz')
''.split()
''.split(',')
sp.split()
' a  b c '.split(none, 1)
' a  b c '.rsplit(none, 1)
'a,b,,c'.split(',')
'a,b,,c'.rsplit(',', 2)
lines.splitlines()
lines.splitlines(true)
s.startswith('Hell')
s.startswith(('x', 'He'))
s.startswith('ello', 1)
s.endswith('ld')
s.endswith('W', 0, 8)
s.find('o')
s.find('o', 5)
s.find('zz')
s.rfind('o')
s.index('W')
s.rindex('o')
s.count('o')
s.count('o', 5)
'aaa'.count('aa')
'abc'.count('')
em.find('b')
s.replace('o', '0')
s.replace('o', '0', 1)
s.replace('', '-')
'abc'.replace('', '-', 2)
s.replace('zz', 'y')
'aaa'.replace('aa', 'b')
', '.join(ls)
''.join([])
'-'.join('abc')
s.partition(', ')
s.rpartition('o')
s.partition('zz')
s.rpartition('zz')
'abc'.center(8) ~ '|'
'abc'.center(9, '*')
'ab'.center(5, '*')
'abc'.ljust(6, '.')
'abc'.rjust(6, '.')
'42'.zfill(5)
'-42'.zfill(5)
'a\\tb'.expandtabs(4)
'prefix-x'.removeprefix('prefix-')
'x.txt'.removesuffix('.txt')
'abc'.isalpha()
'abc1'.isalnum()
'123'.isdigit()
'12.3'.isdigit()
'²'.isdigit()
'²'.isdecimal()
'½'.isnumeric()
'  '.isspace()
''.isspace()
'ABC'.isupper()
'abc1'.islower()
'Abc Def'.istitle()
'a1_'.isidentifier()
'1a'.isidentifier()
'a\\n'.isprintable()
'abc'.isascii()
'é'.isascii()
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format('a', 'b')
'{a} {b.name} {c[0]} {d[k]}'.format(a=1, b=users[0], c=l, d={'k': 'v'})
'{{}} {}'.format(1)
'{:>8}|{:<8}|{:^8}|{:*^9}'.format('ab', 'cd', 'ef', 'gh')
'{:5d}|{:05d}|{:+d}|{:,}|{:_}|{:x}|{:#x}|{:b}|{:o}'.format(42, 42, 42, 1234567, 1234567, 255, 255, 5, 8)
'{:.2f}|{:8.3f}|{:e}|{:g}|{:%}|{:.1%}'.format(3.14159, 2.5, 12345.6, 0.5, 0.25, 0.123)
'{!r}|{!s}'.format('a', 'b')
'{:{}}|'.format('a', 5)
'{:.3}'.format('abcdef')
'{:.3}'.format(3.14159)
'{}'.format(1.0)
'{:08.2f}'.format(-3.14159)
'{:,.2f}'.format(1234567.891)
l.index(1)
l.count(3)
(1, 2, 1).count(1)
(1, 2, 1).index(2)
d.get('a')
d.get('zz')
d.get('zz', 'dflt')
d.copy()
d.pop('a')
d.pop('zz', 'no')
d.setdefault('new', 5)
l.copy()
l.pop()
l.pop(0)
l.append(9)
x.is_integer()
whole.is_integer()
x
whole
tiny
huge
big
q
[q, q1, 'p"q', '\\\\', '\\n', '\\x00', 'é', '\\u200b', '\\U0001F600']
n
t
missing
missing.x is defined
missing or 'd'
[missing]
missing ~ 'x'
missing == missing
missing == none
missing|length
missing|list
missing|upper
missing|default('d')
missing|d('d')
n|default('d')
n|default('d', true)
e|default('d', boolean=true)
0|default('d', true)
d.zz|default(d.a)
s|upper
s|lower
s|title
'foo-bar (baz) [qux] a{b <c'|title
"it's"|title
s|capitalize
i|upper
n|lower
sp|trim
'xxaxx'|trim('x')
i|trim
n|trim
s|replace('l', 'L')
s|replace('l', 'L', 1)
12321|replace(2, 'x')
s|length
l|count
d|length
l|first
l|last
el|first
el|last
s|first
s|last
d|first
l|join
l|join(', ')
users|join('|', attribute='name')
users|join('|', 'age')
s|join('.')
d|join(',')
l|sort
l|sort(reverse=true)
ls|sort
ls|sort(case_sensitive=true)
users[:3]|sort(attribute='age')|map(attribute='name')|list
users[:3]|sort(attribute='age,name')|map(attribute='name')|list
users[:3]|sort(true, attribute='name')|map(attribute='name')|list
d|sort
d|dictsort
d|dictsort(reverse=true)
{'a': 2, 'B': 1}|dictsort(true)
{'a': 2, 'B': 1}|dictsort(false, 'value')
l|min
l|max
ls|min
ls|max
ls|max(case_sensitive=true)
users[:3]|min(attribute='age')
users[:3]|max(attribute='age')
el|min
l|sum
users[:3]|sum(attribute='age')
l|sum(start=10)
[[1], [2]]|sum(start=[])
[0.1, 0.2, 0.3]|sum
l|reverse|list
s|reverse
d|reverse|list
l|list
s|list
d|list
(1, 2)|list
range(3)|list
[1, 1.0, true, 'a', 'A', 'b']|unique|list
ls|unique(true)|list
users|unique(attribute='age')|map(attribute='name')|list
l|map('string')|list
ls|map('upper')|join
ls|map('replace', 'b', 'z')|list
users|map(attribute='name')|list
users|map(attribute='age', default=0)|list
users|map(attribute='tags.0')|list
users|map(attribute='age')|list
[1, 2, 3, 4]|select('even')|list
[1, 2, 3, 4]|select('divisibleby', 3)|list
[0, 1, '', 'a', none]|select|list
[0, 1, '', 'a', none]|reject|list
[1, 2, 3]|reject('gt', 1)|list
[1, 2, 3]|select('in', [1, 3])|list
[1, 2, 3]|select('==', 2)|list
users|selectattr('age')|map(attribute='name')|list
users|selectattr('age', 'eq', 31)|map(attribute='name')|list
users|selectattr('age', 'defined')|list|length
users|rejectattr('age', 'defined')|map(attribute='name')|list
users|selectattr('tags.0', 'equalto', 'y')|map(attribute='name')|list
msgs|selectattr('role', 'equalto', 'user')|list|length
msgs|rejectattr('role', 'in', ['system', 'assistant'])|map(attribute='content')|join(',')
msgs|selectattr('role', '==', 'zzz')|list
(msgs|selectattr('role', '==', 'user')|list)[0].content
(msgs|selectattr('role', '==', 'user')|first).content
users[:3]|groupby('age')|list|length
users[:3]|groupby('age')|map('first')|list
users|groupby('age', default=0)|map(attribute='grouper')|list
users[:3]|groupby('age')|map(attribute='list')|map('length')|list
[{'k': 'b'}, {'k': 'A'}, {'k': 'B'}]|groupby('k')
[{'k': 'b'}, {'k': 'A'}, {'k': 'B'}]|groupby('k', case_sensitive=true)
[1, 2, 3, 4, 5]|batch(2)|list
[1, 2, 3, 4, 5]|batch(2, '-')|list
[1, 2, 3, 4, 5]|slice(2)|list
[1, 2, 3, 4, 5]|slice(3, '-')|list
d|items|list
missing|items|list
'3'|int
'3.9'|int
'x'|int
'x'|int(5)
'0x1f'|int(0, 16)
'ff'|int(base=16)
'0b11'|int(0, 2)
' 42 '|int
'1_000'|int
x|int
-1.9|int
n|int
t|int
[]|int(7)
'3.5'|float
'1e3'|float
'x'|float
'x'|float(1.5)
3|float
'inf'|float
'-Infinity'|float
'nan'|float
2.5|round
3.5|round
-2.5|round
2.675|round(2)
1234.5678|round(2)
1234.5678|round(-2)
2.1|round(method='ceil')
2.9|round(0, 'floor')
2.15|round(1, 'ceil')
7|round
1250|round(-2)
1350|round(-2)
42.55|round|int
-3|abs
-3.5|abs
3|string
x|string ~ 'a'
l|string
'a\\nb\\n\\nc'|indent
'a\\nb\\n\\nc'|indent(2, true)
'a\\nb\\n\\nc'|indent(2, blank=true)
'a\\nb'|indent('> ')
''|indent
'a'|indent(2, true)
s|truncate(8)
s|truncate(8, true)
'foo bar baz qux'|truncate(9)
'foo bar baz qux'|truncate(9, true)
'foo bar baz qux'|truncate(11)
'foo bar baz qux'|truncate(11, false, '...', 0)
'foo bar baz qux'|truncate(9, end='>')
'abc def-ghi jk_l'|wordcount
s|center(20) ~ '|'
'%s-%s'|format('a', 'b')
'%(x)s'|format(x=1)
html|escape
html|e
html|escape|escape
html|forceescape
html|safe
html|safe|string
html|striptags
'a  <b>c</b>\\n d<!-- x -->e'|striptags
('<b>'|safe) + '<i>'
'<i>' + ('<b>'|safe)
('<b>'|safe) ~ '<i>'
'<i>'|safe|upper
('%s'|safe) % '<x>'
['<', '>'|safe]|join('&')
'a b&c/d'|urlencode
{'a b': 1, 'c': 'd&e'}|urlencode
[('a', 1), ('b', '/')]|urlencode
{'class': 'x', 'id': none, 'a': '<'}|xmlattr
{'class': 'x'}|xmlattr(false)
1|filesizeformat
999|filesizeformat
1000|filesizeformat
123456789|filesizeformat
123456789|filesizeformat(true)
1e30|filesizeformat
'x'|filesizeformat
n|filesizeformat
n|tojson
t|tojson
x|tojson
whole|tojson
huge|tojson
s|tojson
u|tojson
em|tojson
q|tojson
'\\n\\t\\x01\\x7f/<>&'|tojson
nest|tojson
d|tojson
ed|tojson
el|tojson
(1, 2)|tojson
{1: 'a', none: 2, true: 3, 1.5: 4}|tojson
nest|tojson(indent=2)
d|tojson(indent=4)
el|tojson(indent=2)
{'a': {}, 'b': []}|tojson(indent=2)
d|tojson(indent=0)
d|tojson(indent='\\t')
d|tojson(sort_keys=true)
nest|tojson(separators=(',', ':'))
u|tojson(ensure_ascii=true)
em|tojson(ensure_ascii=true)
'inf'|float|tojson
users|tojson
i is odd
i is even
i is divisibleby 7
i is divisibleby(3)
i is defined
missing is defined
missing is undefined
missing is not defined
d.zz is defined
n is none
n is not none
missing is none
t is true
1 is true
f is false
0 is false
t is boolean
1 is boolean
i is integer
t is integer
x is integer
x is float
whole is float
i is float
i is number
t is number
x is number
s is number
s is string
i is string
html|safe is string
d is mapping
l is mapping
l is sequence
s is sequence
d is sequence
i is sequence
missing is sequence
l is iterable
s is iterable
d is iterable
i is iterable
missing is iterable
d.keys() is sequence
range is callable
s.upper is callable
s is callable
i is sameas i
n is sameas none
l is sameas [3, 1, 2]
'abc' is lower
'ABC' is upper
'Abc' is lower
'123' is lower
i is eq 7
i is equalto(7)
i is == 7
i is ne 7
i is gt 5
i is greaterthan 7
i is ge 7
i is lt 5
i is lessthan 8
i is le 7
i is in [7]
'x' is in 'xyz'
'upper' is filter
'nope' is filter
'odd' is test
'nope' is test
(html|escape) is escaped
s is escaped
i is odd and t
i is odd or missing.x
not i is odd
i is not odd
range(5)
range(1, 5)
range(5, 0, -2)|list
range(0, 10, 3)|list
range(5)[2]
range(5)[-1]
range(5)[1:3]|list
range(3)|length
3 in range(5)
range(0)|list
dict(a=1, b='x')
dict([('a', 1)])
dict({'a': 1}, b=2)
namespace(a=1)
namespace(a=1).a
namespace().zz is defined
cycler('a', 'b').next()
joiner(',')() ~ 'x'
strftime_now('%Y-%m-%d')
strftime_now('%d %B %Y, %H:%M:%S %p %A %j %y %b %a %%')
strftime_now('%-d/%-m')
strftime_now('x%Zy%z')
loop is defined
'a' ~ 'b'|upper
('a' ~ 'b')|upper
-1|abs
(-1)|abs
2 * 3 + 4
2 + 3 * 4
2 ~ 3 + 4
1 + 2 ~ 3
(1 + 2) * 3
10 - 2 - 3
100 // 7 % 5
1 if 0 else 2 + 3
[x for_ in_]
s['upper']()
d|attr('items') is callable
d|attr('a') is defined
s|attr('zzz') is defined
'%s' % ('a',)
'%s %s' % ('a', 'b')
not (t and f)
t == not f
'a' in ['a'] == true
1 in [1] and 2 in [2]
[1, 2, 3][1]
{'a': {'b': 'c'}}.a.b
{'a': {'b': 'c'}}['a']['b']
'abc'[1]
'abc'[1:][0]
(1, 2)[0]
[[1, 2], [3, 4]]|map('first')|list
[[1, 2], [3, 4]]|map('join', '-')|list
[3, 1]|map('string')|map('int')|sort
['a', 'b']|map('upper')|map('lower')|join
[1, 2, 3]|map('multiply', 2)|list
'a'|upper|lower|title
"\\u4f60\\u597d"
'你好'|length
'你好'[0]
'你好'|list
'你好'|tojson
'a' > 'b'
[3, 'a']|sort
1 + 'a'
'a' + 1
'a' - 'b'
[1] + (2,)
n + 1
1 / 0
1 // 0
1 % 0
1.0 / 0
missing.x
missing['x']
missing.x.y
missing()
missing + 1
missing > 1
n.x
n.x.y
n['x']
i.x.y
l.x.y
l[9].x
d.zz.y
s.nope()
s.nope
i()
n()
none()
n|length
i|length
i|list
n|join
i[0]
i[0:1]
n[0:1]
d[0:1]
missing[0:1]
l['a']
l['a'].b
d[[1]] is defined
{[1]: 2}
1 in i
1 in s
'a' in n
for_x in_
l|nope
l is nope
raise_exception('own words')
raise_exception()
s.index('zz')
l.index(99)
s.split('')
'%d' % 'a'
'%s %s' % 'a'
'%s' % ('a', 'b')
'%z' % 1
'{} {}'.format(1)
'{x}'.format()
'{'.format()
'}'.format()
'{:d}'.format('a')
'{:s}'.format(1)
range(100001)
range(1, 2, 0)
range('a')
'x'.join([1])
[].pop()
{}.pop('a')
missing|tojson
range(3)|tojson
{(1, 2): 3}|tojson
l|map|list
l|map('nope')|list
l|select('nope')|list
[1, 'a']|min
el|sum
s|sum
n|sort
d|dictsort(by='zz')
s|truncate(1)
5|round(method='zz')
'a'|round
'a'|abs
dict(1)
'a' < 1
n < 1
[1] < [n]
l|batch
s|indent('a', 'b', 'c', 'd')
s|replace('a')
s.replace('a')
{'a': 1}|items|first
[1, 2]|unique|first
l|map('string')|first
(l|map('string')) is string
(l|map('string')) is iterable
(l|map('string'))|length
l|map('string')|last
'a' if missing else 'b'
missing if missing else 'b'
[i, s, d.a]|list
true|string
none|string
(none, true)|string
1.0|string
[1.0, 2.50, 1e3]
1e3
123.456e2
"%.2f"|format(3.14159)
"%05.1f" % 3.14159
5|string|length
'abc'|batch(2)|map('join')|join('-')
(1, (2, 3))|string
[[]]
[{}]
{'a': []}
[()]
'\\u00e9' == 'é'
'tab\\there'
'nul\\0l'|length
''|tojson
'a'*0
1.5e300 * 1e300
-1 ** 2
1 .__class__ is defined
s.__class__ is defined
s['__len__'] is defined
9223372036854775807
9223372036854775806 + 1
""".strip("\n").split("\n")

TEMPLATES = [
    # white space
    "a\n{% if t %}\n  b\n{% endif %}\nc\n", "a\n  {% if t %}  \n  b\n  {% endif %}  \nc", "a {%- if t -%} b {%- endif -%} c",
    "a\n {%- if t %}\n b\n {%- endif %}\n c", "a\n {%+ if t %}\n b\n {%+ endif %}\nc", "a\n{% if t +%}\nb\n{% endif +%}\nc",
    "{{ i }}\n", "{{ i }}\n\n", "{{ i -}}\n\n x", "x \n {{- i }}", "  {{ i }}  \n", "\n\n{% set a = 1 %}\n\n{{ a }}\n\n", "  {# c #}\nx", "  {#- c -#}\n  x",
    "x{# c #}\ny", "x\n  {# c #}  \ny", "{# a #}{# b #}\nx", "a\r\nb\r\n{% if t %}\r\nc\r\n{% endif %}\r\n", "a\rb", "{% if t %}x{% endif %}\n\n",
    "\t{% if t %}\n\tx\n\t{% endif %}\n", "a{% if t %}\n\n\nb{% endif %}", "{{ '{{' }} {{ '%}' }} {{ \"}}\" }}", "{% raw %}{{ a }} {% b %}{% endraw %}",
    "a\n  {% raw %}\n  {{ x }}\n  {% endraw %}\nb", "{%- raw -%}  x  {%- endraw -%}  y", "{% raw %}\nx\n{% endraw %}\ny", "{% raw -%}\n x{% endraw +%}\ny",
    "{ {x} } {  % } #}", "{{ {'a': {'b': 1}} }}", "{{ {'a': {'b': 1}}.a.b}}", "{{-i-}}", "{{- -1 -}}", "{{+i}}", "  {%- set a = 1 +%}\n x{{ a }}", "{% if t %}  {% endif %}|", "   {% if t %}x{% endif %}\n",
    "x   {% if t %}y{% endif %}", "{% if t %}\n{% endif %}{% if t %}\n{% endif %}x", "\u00a0 {%- if t %}x{% endif %}", "a{#-\n\n-#}\n\nb", "{#{% if %}#}x", "{{ i }}{# unfinished", "{% if t %}{{ i }}\n  {%- endif %}",
    "{%\n  if\n t\n%}\nx\n{%\nendif\n%}", "{% if t: %}x{% endif %}", "{%if t%}x{%else%}y{%endif%}", "", "\n", "x\n", "{{''}}\n\n",
    # if, for
    "{% if f %}a{% elif i == 7 %}b{% else %}c{% endif %}", "{% if f %}a{% elif f %}b{% elif t %}d{% endif %}", "{% for a in l %}{{ a }},{% endfor %}", "{% for a in el %}x{% else %}none{% endfor %}",
    "{% for a in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for a in l %}{{ loop.previtem }}<{{ a }}>{{ loop.nextitem }};{% endfor %}", "{% for a in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a in l if a > 1 %}{{ a }}{{ loop.index }}{{ loop.length }},{% endfor %}", "{% for a in l if a > 9 %}x{% else %}none{% endfor %}", "{% for a in s %}{{ a }}.{% endfor %}", "{% for a in missing %}x{% else %}e{% endfor %}",
    "{% for a in range(10) %}{% if a == 3 %}{% continue %}{% endif %}{% if a == 6 %}{% break %}{% endif %}{{ a }}{% endfor %}", "{% for a in l %}{% for b in l %}{% if b == 1 %}{% break %}{% endif %}{{ a }}{{ b }} {% endfor %}{% endfor %}",
    "{% for a in l %}{% break %}{% else %}e{% endfor %}", "{% for a in l %}{{ loop.cycle('x', 'y') }}{% endfor %}", "{% for a in [1, 1, 2, 2, 1] %}{{ loop.changed(a) }},{% endfor %}",
    "{% for n in tree recursive %}[{{ n.v }}{{ loop.depth }}{{ loop.depth0 }}{% if n.c %}{{ loop(n.c) }}{% endif %}]{% endfor %}", "{% for a in l %}{% for b in ls %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}",
    "{% for a in l %}{% set outer = loop %}{% for b in ls %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}", "{% for a in 5 %}{% endfor %}", "{% for a in n %}{% endfor %}", "{% for a, b in l %}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}",
    "{% for m in msgs[1:] %}{{ m.role }}:{{ m['content'] }}{{ '|' if not loop.last }}{% endfor %}", "{% for m in msgs|reverse %}{{ m.content }}{% endfor %}", "{% for m in msgs[::-1] %}{{ m.content }}{{ loop.index0 }}{% endfor %}",
    "{% for a in l|map('string') %}{{ a }}{{ loop.last }}{% endfor %}", "{% set g = l|map('string') %}{% for a in g %}{{ a }}{% endfor %}{% for a in g %}{{ a }}{% endfor %}|{{ g|list }}", "{% for a in l %}{{ loop }}{% endfor %}",
    "{% for a in l recursive %}{{ a }}{% endfor %}", "{% for a in l %}{{ loop([1]) }}{% endfor %}", "{% for a in (1, 2) %}{{ a }}{% endfor %}", "{% for a in 1, 2 %}{{ a }}{% endfor %}", "{% for a in {'x': 1}.values() %}{{ a }}{% endfor %}",
    "{% for a in l %}{{ loop.index is odd }}{% endfor %}{{ loop }}", "{% for a in l %}{{ a }}{% endfor %}{{ a }}", "{% for l in l %}{{ l }}{% endfor %}{{ l }}",
    # set and scopes
    "{% set a = 1 %}{{ a }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}", "{% set a %}x{{ i }}y{% endset %}[{{ a }}]", "{% set a | upper %}xy{% endset %}{{ a }}", "{% set a | replace('x', 'z') | upper %}xy{% endset %}{{ a }}",
    "{% set a = 1 %}{% for b in l %}{% set a = b %}{% endfor %}{{ a }}", "{% set a = 0 %}{% for b in l %}{{ a }}{% set a = a + 1 %}{{ a }};{% endfor %}{{ a }}", "{% set ns = namespace(c=0) %}{% for b in l %}{% set ns.c = ns.c + b %}{% endfor %}{{ ns.c }}",
    "{% set ns = namespace() %}{% set ns.x = 1 %}{{ ns.x }}{{ ns.y }}{{ ns['x'] }}", "{% set d.x = 1 %}", "{% set missing.x = 1 %}", "{% if t %}{% set a = 1 %}{% endif %}{{ a }}", "{% if f %}{% set i = 1 %}{% endif %}{{ i }}",
    "{% if not zzz is defined %}{% set zzz = 5 %}{% endif %}{{ zzz }}", "{% if i is not defined %}{% set i = 5 %}{% endif %}{{ i }}", "{% for a in [1, 2, 3] %}{% if a == 2 %}{% set i = 'new' %}{% endif %}{{ i }}{% endfor %}",
    "{{ i }}{% set i = 1 %}{{ i }}", "{% for a in l %}{{ i }}{% endfor %}{% set i = 1 %}", "{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% set i = 1 %}{{ m() }}", "{% set i = 1 %}{% macro m() %}{{ i }}{% set i = 2 %}{% endmacro %}{{ m() }}{{ i }}",
    "{% if f %}{% set i = 1 %}{% else %}{% set i = 2 %}{% endif %}{{ i }}", "{% if f %}{% set i = 1 %}{% elif f %}{% set i = 3 %}{% else %}{% set i = 2 %}{% endif %}{{ i }}", "{% for a in l %}{% set i = a %}{% endfor %}{{ i }}",
    "{% macro m() %}{{ i }}{% endmacro %}{% if t %}{% set i = 1 %}{% endif %}{{ m() }}", "{% set x = x + 1 %}{{ x }}", "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a }}", "{% with i = i + 1 %}{{ i }}{% endwith %}{{ i }}", "{% with a = 1, b = a %}{{ b }}{% endwith %}",
    "{% set a = [] %}{% for b in l %}{% set _ = a.append(b) %}{% endfor %}{{ a }}", "{% set a = {} %}{% set _ = a.update({'x': 1}) %}{% set _ = a.update(y=2) %}{{ a }}", "{% set a = [1, 2] %}{% set b = a %}{{ a.append(3) }}{{ b }}{{ a.pop() }}{{ a }}{{ a.extend([5, 6]) }}{{ a }}{{ a.insert(0, 9) }}{{ a.remove(5) }}{{ a.reverse() }}{{ a }}{{ a.sort() }}{{ a }}{{ a.clear() }}{{ a }}",
    "{% set a = {'x': 1, 'y': 2} %}{{ a.pop('x') }}{{ a }}{{ a.setdefault('z', 3) }}{{ a }}{{ a.popitem() }}{{ a.clear() }}{{ a }}", "{% set a = 'x' 'y' %}{{ a }}", "{% set a = b = 1 %}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{% set a.b.c = 1 %}", "{% set a, b = [1] %}", "{% set a %}{% set q = 1 %}{% endset %}{{ q }}",
    "{% set a = namespace(x=[1]) %}{% set a.x = a.x + [2] %}{{ a.x }}", "{% set a = namespace({'p': 1}, q=2) %}{{ a.p }}{{ a.q }}{{ a }}",
    # macros, calls, filters, blocks
    "{% macro m(a, b=2) %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=5, a=4) }}{{ m() }}", "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}", "{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}", "{% macro m() %}x{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m }}", "{% macro m(a) %}{{ a }}{% if a > 0 %}{{ m(a - 1) }}{% endif %}{% endmacro %}{{ m(3) }}",
    "{% macro m() %}({{ caller() }}){% endmacro %}{% call m() %}x{{ i }}{% endcall %}", "{% macro m() %}{% for a in l %}{{ caller(a) }}{% endfor %}{% endmacro %}{% call(b) m() %}<{{ b }}>{% endcall %}", "{% macro m() %}{{ caller is defined }}{% if caller %}{{ caller() }}{% endif %}{% endmacro %}{{ m() }}", "{% macro m(x) %}{{ caller(x, 2) }}{% endmacro %}{% call(a, b=9) m(1) %}{{ a }}{{ b }}{% endcall %}",
    "{% call i %}x{% endcall %}", "{% filter upper %}a{{ s }}b{% endfilter %}", "{% filter replace('a', 'b')|upper %}a{% endfilter %}", "{% filter nope %}a{% endfilter %}", "{% block b %}x{{ i }}{% endblock %}", "{% block b %}x{% endblock b %}y", "{% for a in l %}{% block b scoped %}{{ a }}{% endblock %}{% endfor %}", "{% for a in l %}{% block b %}[{{ a }}]{% endblock %}{% endfor %}",
    "{% macro m(l) -%}\n  {%- for a in l %}{{ a }}{% endfor -%}\n{%- endmacro %}\n[{{ m([1, 2]) }}]", "{% set m = 1 %}{% macro m() %}x{% endmacro %}{{ m() }}", "{{ m() }}{% macro m() %}x{% endmacro %}", "{% for a in l %}{% macro m() %}{{ a }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}x{% endmacro %}{{ a() }}", "{% macro m(a=[]) %}{{ a }}{% endmacro %}{{ m() }}", "{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}{{ m(5, *[6]) }}",
    "{% macro m() %}{{ loop is defined }}{% endmacro %}{% for a in [1] %}{{ m() }}{% endfor %}", "{% generation %}x{{ i }}{% endgeneration %}y", "{% for m in msgs %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}", "{% generation %}{% set q = 1 %}{% endgeneration %}{{ q }}",
    "{% macro m(x) %}{{ x|tojson }}{% endmacro %}{{ m({'a': 1})|upper }}", "{% macro m() %}{% break %}{% endmacro %}", "{% macro m(a, a2=1, b) %}{% endmacro %}", "{% macro m(1) %}{% endmacro %}", "{% print i, s %}", "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(none) }}", "{% macro m(a='d') %}{{ a }}{% endmacro %}{{ m(none) }}{{ m(missing) }}",
    "{% macro outer() %}{% macro inner() %}i{{ s }}{% endmacro %}{{ inner() }}{% endmacro %}{{ outer() }}", "{% set a = cycler('x', 'y') %}{{ a.next() }}{{ a.next() }}{{ a.next() }}{{ a.current }}{{ a.reset() }}{{ a.current }}", "{% set j = joiner('; ') %}{% for a in l %}{{ j() }}{{ a }}{% endfor %}",
    # errors
    "{% if %}x{% endif %}", "{% if t %}x", "{% for %}{% endfor %}", "{% endfor %}", "{% nope %}", "{{ }}", "{{ i", "{{ 'a }}", "{% if t %}{% endfor %}", "{{ i i }}", "{{ (1 }}", "{{ [1, }}", "{{ {1} }}", "{{ i | }}", "{{ i. }}", "{{ i is }}", "{{ 1 + }}", "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% break %}", "{% continue %}", "{% raw %}x", "{{ m(a=1, 2) }}", "{{ $ }}", "{{ a ! b }}", "{{ 'a' is string is string }}",
    "{% macro %}{% endmacro %}", "{% set %}", "{% else %}", "{{ foo(a=1, a=2) }}", "{% if t %}{% else %}{% else %}{% endif %}", "{{ i }}\n{{ missing.x }}", "line1\nline2\n{% if t %}\n{{ raise_exception('stop: ' ~ s) }}\n{% endif %}", "{{ [1, 2 }}", "{{ ] }}", "{{ d.items }}x{{ nope() }}", "{% for x in %}{% endfor %}", "{% for 1 in l %}{% endfor %}", "{{ 1a }}", "{{ a.1b }}", "{{ '\\x4' }}", "{% do 1 %}", "{% trans %}x{% endtrans %}",
    # as chat templates have it
    "{% for message in messages|default(msgs) %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
    "{%- if msgs[0].role == 'system' %}\n    {%- set sys = msgs[0].content %}\n    {%- set rest = msgs[1:] %}\n{%- else %}\n    {%- set rest = msgs %}\n{%- endif %}\n{%- for m in rest %}\n    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}\n        {{- raise_exception('alternate') }}\n    {%- endif %}\n    {%- if loop.first and sys is defined %}\n{{ sys }}\n    {% endif %}\n[{{ m.content|trim }}]\n{%- endfor %}",
    "{%- set ns = namespace(found=false) -%}{%- for m in msgs -%}{%- if m.role == 'user' and not ns.found -%}{%- set ns.found = true -%}{{- m.content -}}{%- endif -%}{%- endfor -%}", "{{ (msgs|last)['role'] }}{{ msgs[-1].content.split('U')[-1] }}{{ msgs|length - 1 }}",
    "{% set content = '<think>a</think>b' %}{{ content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') }}|{{ content.split('</think>')[-1] }}", "{{ users[0] | tojson(indent=4) | indent(2) }}", "{% for u in users if u.age is defined and u.age > 30 %}{{ u.name }}{{ ', ' if not loop.last else '.' }}{% endfor %}",
    "{%- macro p(x, depth=0) -%}{%- if x is mapping -%}{%- for k, v in x.items() -%}{{ '  ' * depth }}{{ k }}:\n{{ p(v, depth + 1) }}{%- endfor -%}{%- elif x is iterable and x is not string -%}{%- for v in x -%}{{ p(v, depth + 1) }}{%- endfor -%}{%- else -%}{{ '  ' * depth }}{{ x }}\n{% endif -%}{%- endmacro -%}{{ p({'a': [1, {'b': none}], 'c': 'x'}) }}",
]


def make_cases():
    cases = []
    for e in EXPRESSIONS:
        cases.append("{{ " + e + " }}")
    cases += TEMPLATES
    out = []
    for text in cases:
        got, failed = render(text, json.loads(json.dumps(CONTEXT)))
        case = {"template": text}
        if failed is None:
            case["text"] = got
        else:
            exact = failed[0] in ("UndefinedError", "TemplateError", "TemplateRuntimeError")
            case["error"] = failed[1] if exact else ""
        out.append(case)
    print("{")
    print('"context": ' + json.dumps(CONTEXT, ensure_ascii=False) + ",")
    print('"cases": [')
    print(",\n".join(json.dumps(c, ensure_ascii=False) for c in out))
    print("]}")


# ---- folders of templates

def hash_of(data):
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def name_of(path):
    return os.path.splitext(os.path.basename(path))[0]


def list_templates(folder):
    print("# BLAKE2b-256 of template and context together; bytes of the text and its hash, or \"error\" and")
    print("# the exception; names of template and context")
    contexts = sorted(glob.glob(os.path.join(folder, "contexts", "*.json")) or
                      glob.glob(os.path.join(folder, os.pardir, "contexts", "*.json")))
    for path in sorted(glob.glob(os.path.join(folder, "*.jinja"))):
        for context in contexts:
            template, names = open(path, "rb").read(), open(context, "rb").read()
            text, failed = render(template.decode(), json.loads(names))
            result = ("error", " ".join(failed[1].split())) if failed else (
                len(text.encode()), hash_of(text.encode()))
            print("%s\t%s\t%s\t%s %s" % ((hash_of(template + names),) + result + (name_of(path), name_of(context))))


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    if what == "cases":
        make_cases()
    elif what == "templates" and len(sys.argv) == 3:
        list_templates(sys.argv[2])
    else:
        sys.exit(__doc__)


main()
