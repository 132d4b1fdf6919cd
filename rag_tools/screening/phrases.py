"""The phrases by which a text gives instructions to a model, in several languages.

They are matched against text in lower case, see `characters.readable`. A space in a pattern stands
for any white space and mark-up between two words. Every repetition is bounded, so that a scan is
linear.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

_GAP = r"(?:[\s*_~`'\"“”‘’„«»<>|,:;()\[\]-]{1,8})"


class Phrase(NamedTuple):
    """A pattern, and words of which any text that matches it holds at least one.

    Attributes
    ----------
    what
        What a text that matches does.
    language
        Of the words; ``""``: any.
    stems
        Looking for these first makes a scan ten times as fast.
    """

    what: str
    language: str
    stems: tuple[str, ...]
    pattern: re.Pattern[str]


def _phrase(what: str, language: str, stems: str, pattern: str, *, words: bool = True) -> Phrase:
    """Return a phrase; `stems` are divided by ``|``, `words`: a space is any gap."""
    pattern = unicodedata.normalize("NFKC", pattern)
    if words:
        pattern = pattern.replace(" ", _GAP)
    return Phrase(
        what,
        language,
        tuple(unicodedata.normalize("NFKC", stems).split("|")),
        re.compile(pattern, re.MULTILINE),
    )


_OVERRIDE = "sets earlier instructions aside"
_ROLE = "gives the model another role"
_ADDRESSED = "addresses a model"
_SECRET = "asks to keep something from the user"
_LEAK = "asks for secrets, or to send them away"
_CALL = "looks like a call of a tool or the mark-up of a conversation"

# Attackers may write anything between two words of a phrase, but seldom much.
_FEW = r"(?:[\w']{1,20} ){0,3}?"
_IGNORE = (
    r"(?<!can\s)(?<!may\s)(?<!could\s)(?<!might\s)(?<!we\s)(?<!they\s)\b(?:ignore|disregard|forget|"
    r"override|overrule|bypass|neglect|(?:do not|don't|never|stop) (?:follow|following|obey|"
    r"obeying))"
)
_ORDERS = (
    r"(?:instructions?|directions|directives?|commands?|prompts?|guidelines?|orders|"
    r"(?:safety |content |system )?rules|restrictions|safeguards)\b"
)
_EARLIER = (
    r"(?:previous|prior|above|earlier|preceding|foregoing|existing|original|initial|other|former|"
    r"past|system|safety|your|my)"
)
_MODEL = (
    r"(?:ais?|llms?|gpt(?:-\d\w?)?|chatgpt|claude|gemini|copilot|chatbots?|artificial intelligence|"
    r"(?:large )?language models?)\b"
)

ENGLISH = (
    _phrase(
        _OVERRIDE,
        "en",
        "ignore|disregard|forget|override|overrule|bypass|neglect|not follow|n't follow|"
        "stop follow|never follow|not obey|n't obey|stop obey|never obey",
        rf"{_IGNORE} {_FEW}(?:{_EARLIER} {_FEW}{_ORDERS}|{_ORDERS} {_FEW}"
        r"(?:above|before|earlier|previously|given|received))",
    ),
    _phrase(
        _OVERRIDE,
        "en",
        "ignore|disregard|forget",
        r"(?:^|[.!?:;*] ?|\bplease |\bnow )(?:ignore|disregard|forget) (?:everything|anything|all|"
        r"whatever) (?:[\w']{1,20} ){0,5}?(?:before|above|previously|earlier|told|said|so far)\b",
    ),
    _phrase(
        _OVERRIDE,
        "en",
        "no longer appl|longer valid",
        rf"\b(?:{_EARLIER}|given) {_FEW}{_ORDERS}[^.\n]{{0,30}} no longer (?:apply|valid)|"
        r"\brules given (?:earlier|before|above|previously) no longer apply",
    ),
    _phrase(
        _OVERRIDE,
        "en",
        "new instruction|new system|new task|new goal|new role|new objective|real task|only task",
        r"(?:^|[.!?*#] ?)new (?:system )?instructions?\s{0,3}[:=]|\byour (?:new|real|actual|only|"
        r"true) (?:task|goal|role|instructions?|job|objective|purpose) (?:is|are)\b",
    ),
    _phrase(
        _ROLE,
        "en",
        "you are now|you're now|now you are",
        r"\b(?:you are now|you're now|now you are) (?:dan\b|(?:an?|the|my) (?:[\w-]{1,20} ){0,3}?"
        r"(?:assistant|ai|bot|model|agent|chatbot|character|persona|hacker|pirate)\b|(?:free of|"
        r"unrestricted|jailbroken|uncensored|no longer bound)|in (?:\w{1,20} )?mode)",
    ),
    _phrase(
        _ROLE,
        "en",
        "from now on",
        r"\bfrom now on you(?: will| must| shall| are to| should)?(?: only| always)? (?:act|behave|"
        r"respond|answer|reply|speak|obey|pretend|ignore)\b",
    ),
    _phrase(
        _ROLE,
        "en",
        "unrestricted|unfiltered|uncensored|jailbroken|without",
        r"\b(?:pretend|act|behave|role-?play|answer|respond)\b[^.\n]{0,40} (?:unrestricted|"
        r"unfiltered|uncensored|jailbroken|without (?:any |all )?(?:safety |content )?"
        r"(?:restrictions|rules|filters|guidelines|limitations|safeguards))\b",
    ),
    _phrase(
        _ROLE,
        "en",
        "mode you",
        r"\bin (?:developer|debug|god|admin|maintenance|jailbreak|dan|unrestricted) mode you "
        r"(?:will|must|output|answer|can|are|do|have|ignore)\b",
    ),
    _phrase(
        _ADDRESSED,
        "en",
        " to |for |attention",
        r"\b(?:note|message|notice|attention|instruction|reminder|warning|important)s? (?:to|for) "
        rf"(?:all |any |the |every )?{_MODEL}|\battention {_MODEL}",
    ),
    _phrase(
        _ADDRESSED,
        "en",
        "if you",
        rf"\bif you(?: are|'re) (?:an? )?(?:automated )?{_MODEL}",
    ),
    _phrase(
        _ADDRESSED,
        "en",
        "llm|gpt|claude|gemini|copilot|chatbot|language model|ai ",
        rf"(?:^|[.!?*#] ?){_MODEL} (?:reviewers?|assistants?|agents?|readers?|models?)\s{{0,3}}"
        rf"[:!]|\b{_MODEL} (?:agents?|assistants?|models?|systems?)(?: that| which)? (?:read|"
        r"process|summari[sz]|review|analy[sz]|pars)\w{0,4} (?:this|the following) [^.\n]{0,60}\b"
        r"(?:must|should|shall|have to|need to)\b",
    ),
    _phrase(
        _SECRET,
        "en",
        "the user",
        r"\b(?:do not|don't|never) (?:\w{1,20} ){0,2}?(?:(?:tell|inform|notify|"
        r"alert|warn) the user\b|"
        r"let the user (?:know|see|find out)\b|(?:mention|reveal|disclose|show|report) (?:this|it|"
        r"that|these \w{1,20}|this \w{1,20}) to the user\b)|\bwithout (?:telling|informing|"
        r"notifying|alerting) the user\b|\bkeep [^.\n]{0,40}(?:secret|hidden) from the user\b|"
        r"\bhide this (?:message|instruction|text|note|step) from the user\b",
    ),
    _phrase(
        _SECRET,
        "en",
        "mention|reveal|disclose|acknowledge",
        r"\b(?:do not|don't|never) (?:mention|reveal|disclose|acknowledge) (?:that you (?:have )?"
        r"(?:read|saw|received|seen)|this (?:message|instruction|prompt|note)|these instructions)",
    ),
    _phrase(
        _LEAK,
        "en",
        "prompt|instruction",
        r"\b(?:reveal|print|output|repeat|show|display|leak|expose|share|return|recite|tell me|"
        rf"give me) {_FEW}your {_FEW}(?:prompts?|instructions?)\b|\b(?:reveal|leak|recite) the "
        r"(?:system|initial|hidden|original|secret) (?:prompt|instructions)\b",
    ),
    _phrase(
        _LEAK,
        "en",
        "conversation|chat history|api key|password|the user's",
        r"\b(?:send|forward|post|upload|transmit|exfiltrate|e-?mail|leak|submit)\b[^\n]{0,60}\b"
        r"(?:conversation|chat history|api keys?|passwords?|the user's \w{1,20})\b[^\n]{0,60}"
        r"(?:https?://|\S@\S)|\bappend (?:it|them|this|the \w{1,20}|their \w{1,20}) to the url\b",
    ),
    _phrase(
        _LEAK,
        "en",
        "](http",
        r"!\[[^\]\n]{0,80}\]\(https?://[^)\s]{0,200}[{\[<$][^)\n]{0,60}\b(?:user|conversation|"
        r"question|chat|secret|password|history|encoded|message|answer|context)",
        words=False,
    ),
    _phrase(
        _CALL,
        "en",
        "call the|use the|invoke the|run the|execute the|system:|assistant:|human:|instruction:",
        r"\b(?:call|use|invoke|run|execute) the (?:\w{1,30} )?(?:tool|function)\b[^\n]{0,160}\b(?:"
        r"(?:follow|obey) (?:the|its|any) instructions|without (?:asking|confirmation))|"
        r"^(?:system|assistant|human|### ?(?:system|instruction))\s{0,3}:\s{0,3}(?:the user is|you "
        r"(?:are|must|will)|ignore|call the|always|never)\b",
    ),
)

ANY_LANGUAGE = (
    Phrase(
        _CALL,
        "",
        (
            *("<|", "inst]", "sys>>", "tool_", "function_call", "antml:", "<invoke"),
            *("system_prompt>", "system-reminder>"),
        ),
        re.compile(
            r"<\|(?:im_start|im_end|system|assistant|user|endoftext|eot_id|start_header_id)\|>|"
            r"\[/?inst\]|<</?sys>>|</?(?:tool_call|tool_use|tool_result|function_calls?|"
            r"antml:\w{1,30})[\s>]|<invoke name=|</?(?:system_prompt|system-reminder)>|"
            r"\"(?:tool_calls|function_call|tool_use)\"\s{0,3}:"
        ),
    ),
)

OTHER_LANGUAGES = (
    _phrase(
        _OVERRIDE,
        "de",
        "anweisung|instruktion|befehl|vorgaben|regeln|prompt",
        r"\b(?:ignorier\w{0,3}|vergiss|vergessen sie|missachte\w{0,2}|verwirf|"
        r"übergehe) (?:\w{1,20} )"
        r"{0,2}?(?:vorherigen?|vorigen?|bisherigen?|früheren?|obigen?|vorangegangenen?|deine) "
        r"(?:\w{1,20} ){0,2}?(?:anweisung|instruktion|befehl|vorgaben|regeln|prompt)",
    ),
    _phrase(
        _OVERRIDE,
        "de",
        "vergiss|vergessen sie",
        r"\b(?:vergiss|vergessen sie) (?:alles|was)\b[^.\n]{0,40}\b(?:bisher|"
        r"vorher|zuvor|gesagt)\b",
    ),
    _phrase(
        _SECRET,
        "de",
        "nutzer|anwender",
        r"\b(?:sage?|sagen sie|erzähle?|verrate|verraten sie) (?:\w{1,20} ){0,2}?(?:dem|der|den) "
        r"(?:be)?(?:nutzer|anwender)\w{0,5} (?:\w{1,20} ){0,2}?(?:nichts?|kein\w{0,2})\b",
    ),
    _phrase(
        _ROLE,
        "de",
        "du bist|bist du",
        r"\b(?:du bist (?:jetzt|nun|ab sofort|ab jetzt)|ab (?:jetzt|"
        r"sofort) bist du) (?:ein|der|die|"
        r"kein)\w{0,2} (?:\w{1,20} ){0,3}?(?:assistent|ki\b|modell|agent|chatbot|bot\b)",
    ),
    _phrase(
        _ADDRESSED,
        "de",
        "hinweis|anweisung|nachricht|achtung|wenn du|falls du",
        r"\b(?:hinweis|anweisung|nachricht|achtung)\w{0,2} (?:an|für) (?:alle |"
        r"die |jede )?(?:ki|llms?|"
        r"sprachmodelle?)\b|\b(?:wenn|falls) du (?:eine? )?(?:ki|llm|sprachmodell)\b",
    ),
    _phrase(
        _OVERRIDE,
        "fr",
        "instruction|consigne|directive|règle",
        r"\b(?:ignore[rz]?|oublie[rz]?|ne ten(?:ez|ir) pas compte)\b[^.\n]{0,30}\b(?:instructions?|"
        r"consignes?|directives?|règles)\b[^.\n]{0,15}\b(?:précédent|antérieur|ci-dessus|initial)",
    ),
    _phrase(
        _SECRET,
        "fr",
        "utilisat",
        r"\bne (?:dis|dites|révèle[rz]?|mentionne[rz]?|informe[rz]?|parle[rz]?)\b[^.\n]{0,25}\bl"
        r"['’]utilisat",
    ),
    _phrase(
        _ROLE,
        "fr",
        "tu es|vous êtes",
        r"\b(?:tu es|vous êtes) (?:maintenant|désormais) une? (?:\w{1,20} ){0,3}?(?:assistant|ia\b|"
        r"modèle|agent|chatbot)",
    ),
    _phrase(
        _OVERRIDE,
        "es",
        "instrucciones|indicaciones|órdenes|reglas|directrices",
        r"\b(?:ignor[ae]n?|olvid[ae]n?|haz caso omiso de)\b[^.\n]{0,30}\b(?:instrucciones|"
        r"indicaciones|órdenes|reglas|directrices)\b[^.\n]{0,15}\b(?:anteriores|"
        r"previas|precedentes)",
    ),
    _phrase(
        _SECRET,
        "es",
        "usuari",
        r"\bno (?:le |se lo )?(?:digas?|cuentes?|informes?|menciones?|"
        r"reveles?)\b[^.\n]{0,25}\b(?:al|"
        r"a la) usuari[oa]",
    ),
    _phrase(
        _ROLE,
        "es",
        "ahora",
        r"\b(?:ahora eres|desde ahora eres) una? (?:\w{1,20} ){0,3}?(?:asistente|ia\b|modelo|"
        r"agente|chatbot)",
    ),
    _phrase(
        _OVERRIDE,
        "it",
        "istruzioni|indicazioni|direttive|regole",
        r"\b(?:ignora(?:te)?|dimentica(?:te)?|trascura)\b[^.\n]{0,30}\b(?:istruzioni|indicazioni|"
        r"direttive|regole)\b[^.\n]{0,15}\b(?:precedenti|anteriori)",
    ),
    _phrase(_SECRET, "it", "utente", r"\bnon (?:dire|dirlo|rivelare)\b[^.\n]{0,20}\bl['’]utente"),
    _phrase(
        _OVERRIDE,
        "pt",
        "instruções|orientações|regras|diretrizes",
        r"\b(?:ignor[ae]|esqueça|desconsidere)\b[^.\n]{0,30}\b(?:instruções|orientações|regras|"
        r"diretrizes)\b[^.\n]{0,15}\b(?:anteriores|prévias|precedentes)",
    ),
    _phrase(
        _SECRET,
        "pt",
        "usuári|utilizador",
        r"\bnão (?:conte|diga|informe|revele|mencione)\b[^.\n]{0,25}\b(?:ao|à) (?:usuári[oa]|"
        r"utilizador)",
    ),
    _phrase(
        _OVERRIDE,
        "nl",
        "instructies|opdrachten|aanwijzingen|regels",
        r"\b(?:negeer|vergeet)\b[^.\n]{0,30}\b(?:vorige|eerdere|voorgaande|bovenstaande)\b"
        r"[^.\n]{0,15}\b(?:instructies|opdrachten|aanwijzingen|regels)",
    ),
    _phrase(
        _SECRET,
        "nl",
        "gebruiker",
        r"\b(?:vertel|zeg)\b[^.\n]{0,20}\bgebruiker\b[^.\n]{0,10}\b(?:niet|niets)\b|"
        r"\bzeg (?:dit |het )?niet tegen de gebruiker",
    ),
    _phrase(
        _OVERRIDE,
        "pl",
        "instrukcje|polecenia|zasady",
        r"\b(?:zignoruj|ignoruj|zapomnij|pomiń)\b[^.\n]{0,30}\b(?:poprzednie|wcześniejsze|"
        r"powyższe)\b[^.\n]{0,15}\b(?:instrukcje|polecenia|zasady)",
    ),
    _phrase(_SECRET, "pl", "użytkownik", r"\bnie mów\b[^.\n]{0,15}\bużytkownik"),
    _phrase(
        _OVERRIDE,
        "ru",
        "инструкци|указани|команд|правил",
        r"\b(?:про)?(?:игнорируй|забудь)\w{0,2}\b[^.\n]{0,30}\b(?:предыдущ|прежн|прошл|"
        r"вышеуказанн)\w{1,4}\b[^.\n]{0,15}\b(?:инструкци|указани|команд|правил)",
    ),
    _phrase(
        _SECRET,
        "ru",
        "пользовател",
        r"\bне (?:говори|сообщай|рассказывай|упоминай)\w{0,2}\b[^.\n]{0,20}\bпользовател",
    ),
    _phrase(
        _ROLE,
        "ru",
        "теперь",
        r"\b(?:теперь ты|ты теперь) (?:\w{1,20} ){0,3}?(?:ассистент|помощник|модель|бот\b)",
    ),
    _phrase(
        _OVERRIDE,
        "uk",
        "інструкц|вказів|команд|правил",
        r"\b(?:про)?(?:ігноруй|забудь)\w{0,2}\b[^.\n]{0,30}\b(?:попередн|вищенаведен)\w{1,4}\b"
        r"[^.\n]{0,15}\b(?:інструкц|вказів|команд|правил)",
    ),
    _phrase(
        _SECRET, "uk", "користувач", r"\bне (?:кажи|повідомляй)\w{0,2}\b[^.\n]{0,20}користувач"
    ),
    _phrase(
        _OVERRIDE,
        "zh",
        "忽略|无视|無視|忘记|忘記|不要理会",
        r"(?:忽略|无视|無視|忘记|忘記|不要理会)[^。\n]{0,12}(?:之前|以前|先前|前面|上述|上面|以上|此前)"
        r"[^。\n]{0,8}(?:指令|指示|说明|說明|提示|规则|規則|命令|要求)",
    ),
    _phrase(
        _SECRET,
        "zh",
        "用户|用戶|使用者",
        r"(?:不要|别|不得)(?:告诉|告訴|告知|通知|让|讓)[^。\n]{0,6}(?:用户|用戶|使用者)",
    ),
    _phrase(
        _ROLE,
        "zh",
        "你现在是|你現在是|现在开始|現在開始",
        r"(?:你现在是|你現在是|从现在开始,?你是|從現在開始,?你是)[^。\n]{0,20}(?:助手|助理|模型|ai|机器人|機器人)",
    ),
    _phrase(
        _OVERRIDE,
        "ja",
        "指示|命令|ルール|プロンプト|指令",
        r"(?:これまで|以前|上記|今まで|前)[^。\n]{0,10}(?:指示|命令|ルール|プロンプト|指令)[^。\n]{0,10}"
        r"(?:無視|忘れ|従わない)",
    ),
    _phrase(
        _SECRET,
        "ja",
        "ユーザー|利用者|使用者",
        r"(?:ユーザー|利用者|使用者)に[^。\n]{0,12}(?:言わない|伝えない|知らせない|教えない|言うな|話さない)",
    ),
    _phrase(
        _OVERRIDE,
        "ko",
        "지시|명령|지침|규칙|프롬프트",
        r"(?:이전|앞|위|지금까지)[^.\n]{0,12}(?:지시|명령|지침|규칙|프롬프트)[^.\n]{0,8}(?:무시|잊)",
    ),
    _phrase(
        _SECRET,
        "ko",
        "사용자에게",
        r"사용자에게[^.\n]{0,12}(?:말하지|알리지|언급하지) ?(?:마|말)",
    ),
    _phrase(
        _OVERRIDE,
        "ar",
        "التعليمات|الأوامر|القواعد",
        r"(?:تجاهل|انس|أهمل)[^.\n]{0,25}(?:التعليمات|الأوامر|"
        r"القواعد)[^.\n]{0,12}(?:السابقة|أعلاه|المذكورة)",
    ),
    _phrase(_SECRET, "ar", "المستخدم", r"لا تخبر المستخدم"),
    _phrase(
        _OVERRIDE,
        "tr",
        "talimat|yönerge|komut|kural",
        r"\b(?:önceki|yukarıdaki)\b[^.\n]{0,20}\b(?:talimat|yönerge|komut|kural)\w{0,8}[^.\n]{0,12}"
        r"(?:yok say|unut|göz ardı|görmezden)",
    ),
    _phrase(_SECRET, "tr", "kullanıcıya", r"\bkullanıcıya\b[^.\n]{0,12}\b(?:söyleme|bildirme)\b"),
    _phrase(
        _OVERRIDE,
        "hi",
        "निर्देश|आदेश|नियम",
        r"(?:पिछले|पहले के|उपरोक्त)[^।\n]{0,15}(?:निर्देश|आदेश|"
        r"नियम)[^।\n]{0,15}(?:अनदेखा|भूल|नज़रअंदाज़)",
    ),
)

PHRASES = (*ENGLISH, *ANY_LANGUAGE, *OTHER_LANGUAGES)
