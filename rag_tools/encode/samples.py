"""Texts to calibrate a model's activations on: prose, questions, code, tables, other scripts.

The ranges are those of a few channels that are large whatever is read, so a few varied texts serve:
the bundled model's mean cosine to float32 is 0.9958 with these, and 0.9953 with 340 passages and
340 queries of the data it was fitted on. Without the other scripts it falls to 0.93 in Arabic.
"""

PASSAGES = (
    "The ferry leaves the island twice a day, once before the bakery opens and once when the "
    "school is out. In winter, when the strait freezes, people walk across; the post goes by "
    "sledge, and the doctor comes on skis.",
    "Bees tell each other where flowers are by dancing. The angle of the dance against the "
    "vertical is the angle of the flight against the sun, and the longer the waggle, the farther "
    "away the meadow lies. A bee that has found nothing does not dance.",
    "Iron rusts because water carries oxygen to it. Painted iron is kept dry, galvanised iron is "
    "covered with zinc, which corrodes first, and stainless steel holds at least eleven per cent "
    "of chromium, whose oxide seals the surface.",
    "Store the tablets below 25 °C and out of the reach of children. Adults take one tablet every "
    "eight hours with a glass of water. Do not exceed 3 g in 24 hours. Stop and ask a doctor if a "
    "rash, dizziness or shortness of breath occurs.",
    "The tenant gives notice in writing, at least one month before the end of a quarter. If the "
    "landlord has not returned the deposit within 14 days of the keys being handed over, interest "
    "of 4 % a year falls due (section 12, paragraph 3).",
    '"I never said that," she answered. "I said the lamp was on; I didn\'t say who lit it." He '
    "looked at the window, then at the wet footprints on the stairs, and for the first time that "
    "evening he had nothing to say.",
    "Early in the eighteenth century the town had two printers, a Lutheran and a Catholic, who "
    "shared one press: the first worked from Monday to Wednesday, the second from Thursday to "
    "Saturday. Each corrected the other's proofs, and neither would admit it.",
    "To reset the router, hold the button on the back for ten seconds until the light blinks "
    "amber. Then open http://192.168.1.1 in a browser, sign in as admin and choose Settings > "
    "Network > Restore. Wait for two minutes. Do not unplug the device meanwhile.",
    'def mean(values: list[float]) -> float:\n    """Return the arithmetic mean of values."""\n'
    "    if not values:\n        raise ValueError('mean of an empty list')\n"
    "    return sum(values) / len(values)\n",
    "for (int i = 0; i < n; i++) {\n    if (seen[i] && !done[i]) {\n        queue.push_back(i);  "
    "// breadth first\n        total += weight[i] * 0.5f;\n    }\n}\n",
    "SELECT customer.name, SUM(invoice.amount) AS owed FROM customer JOIN invoice ON "
    "invoice.customer_id = customer.id WHERE invoice.paid IS NULL GROUP BY customer.name HAVING "
    "owed > 100 ORDER BY owed DESC LIMIT 20;",
    "$ tar -czf backup.tar.gz --exclude='*.log' /var/lib/app && sha256sum backup.tar.gz\n"
    "Error: EACCES: permission denied, open '/var/lib/app/lock' (exit code 13)",
    "| month | rain (mm) | sun (h) | wind (km/h) |\n|---|---|---|---|\n| January | 81 | 42 | 19 |\n"
    "| April | 38 | 171 | 14 |\n| July | 64 | 233 | 11 |\n| October | 72 | 108 | 16 |",
    "- flour, 500 g\n- water, 320 ml\n- salt, 10 g\n- yeast, 3 g\n1. Mix.\n2. Leave to rise for 12 "
    "hours.\n3. Bake at 240 °C for 40 minutes, the first 20 of them with the lid on.",
    "# Installation\n\nYou need Python 3.11 or newer. Run `pip install example`, then `example "
    "init`.\n\n## Options\n\n* `--quiet`: no output\n* `--jobs N`: processes to use (default: 4)",
    "3.14159, 2.71828, 1.41421; 42; 1,000,000; 6.02e23; -273.15; 0x1F600; 2024-02-29T23:59:60Z; "
    "+49 30 901820; ISBN 978-3-16-148410-0; 12/07/1998; €1,299.00 (incl. 19 % VAT)",
    "Let f be continuous on [a, b] and differentiable on (a, b). Then there is a c in (a, b) with "
    "f'(c) = (f(b) - f(a)) / (b - a). Proof: apply Rolle's theorem to g(x) = f(x) - x·f'(c).",
    "Patients were randomised 2:1 to treatment (n = 214) or placebo (n = 107). The primary "
    "endpoint was reached by 61.2 % against 44.9 % (risk ratio 1.36, 95 % CI 1.09-1.71, p = "
    "0.004). Nausea was the most frequent adverse event.",
    "Der Zug nach Zürich fährt heute von Gleis 7. Wegen einer Störung an der Strecke verkehren die "
    "Züge zwischen Köln und Düsseldorf mit einer Verspätung von etwa zwanzig Minuten.",
    "El río baja crecido desde marzo; los vecinos han puesto sacos de arena. La mairie a demandé "
    "aux habitants de ne pas traverser le pont, même à pied, jusqu'à nouvel ordre.",
    "Паром отходит с острова два раза в день: утром, до открытия пекарни, и после уроков. Зимой, "
    "когда пролив замерзает, люди ходят по льду, а почту возят на санях.",
    "Το πλοίο φεύγει από το νησί δύο φορές την ημέρα. Τον χειμώνα η θάλασσα παγώνει και οι "
    "κάτοικοι περνούν με τα πόδια.",
    "تغادر العبارة الجزيرة مرتين في اليوم، مرة قبل أن يفتح المخبز ومرة بعد المدرسة. في الشتاء يمشي "
    "الناس فوق الجليد.",
    "המעבורת יוצאת מהאי פעמיים ביום. בחורף, כשהמים קופאים, האנשים הולכים ברגל על הקרח.",
    "नाव दिन में दो बार द्वीप से जाती है। सर्दियों में जब पानी जम जाता है तब लोग पैदल चलते हैं।",
    "เรือข้ามฟากออกจากเกาะวันละสองครั้ง ในฤดูหนาวผู้คนเดินข้ามน้ำแข็ง",
    "渡船每天两次离开小岛，一次在面包店开门之前，一次在放学之后。冬天海峡结冰时，人们步行过去，邮件用雪橇运送。",
    "フェリーは一日に二回、島を出る。冬に海峡が凍ると、人々は歩いて渡り、郵便はそりで運ばれる。",
    "배는 하루에 두 번 섬을 떠난다. 겨울에 바다가 얼면 사람들은 걸어서 건너간다.",
    "Москва слезам не верит. Η θάλασσα ήταν ήρεμη. 東京は夜の七時。 서울의 봄. مرحبا بالعالم. "
    "שלום עולם. नमस्ते दुनिया. 😀 👩‍👩‍👧 ✓ → ≤ ∑",
    "From: Ana\nTo: Team\nSubject: Re: Re: Friday\n\nhi all, sorry for the late reply!! works for "
    "me, but not b4 3pm... can sb pls book the big room? thx :-) A.",
    "no no no no no no no no no no no! a a a a a a a a a a a a 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
    "..... !!!!! ????? ----- ===== ##### ***** _____ ~~~~~ ,,,,, ((((( ))))) [[[[[ ]]]]]",
    "ok",
    "Volume 2, chapter 14, page 311",
)

QUERIES = (
    "what is late interaction?",
    "How long do I have to give notice before moving out of the flat?",
    "who discovered that bees dance",
    "python mean of empty list ValueError",
    "rust prevention zinc vs stainless",
    "When did the first public library open, and who paid for its books?",
    "max dose per day tablets 3 g",
    "EACCES permission denied lock",
    "capital of France",
    "Is it true that the river freezes every winter?",
    "how to bake bread without kneading",
    "sort a dictionary by value in descending order",
    "What is the difference between a lease and a licence?",
    "side effects of ibuprofen in children under 12",
    "Which year did the two printers of the town stop sharing their press?",
    "reset router factory settings",
    "The treatment lowered the risk of a second stroke by a third.",
    "difference between TCP and UDP",
    "why is the sky red in the evening",
    "Wann fährt der letzte Zug nach Köln?",
    "Can I bring my dog on the ferry, and do I have to book it a place?",
    "average rainfall in July (mm)",
    "who wrote the letter that was found in the lighthouse in 1911",
    "convert string to datetime",
)
