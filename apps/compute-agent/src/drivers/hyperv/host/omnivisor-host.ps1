<#
.SYNOPSIS
    Lets an Omnivisor compute agent drive Hyper-V on this host.

.DESCRIPTION
    Reads one JSON object a line from standard input and writes one a line to standard output:

        {"id":1,"cmdlet":"Get-VM","parameters":{"Name":"a"},"select":{"Id":true,"State":true}}
        {"id":1,"ok":true,"result":[{"Id":"0f...","State":"Running"}]}
        {"id":1,"ok":false,"error":{"fullyQualifiedErrorId":"...","category":"...","message":"...","exception":"...","hresult":"0x..."}}

    cmdlet      one of $Cmdlets or $Functions; nothing else runs
    parameters  bound by name; no text of a request is ever parsed as PowerShell
    objects     parameters whose values are the result of another call of the same form
    where       keeps results whose properties equal these values
    select      properties to give back, as a tree; enumerations come as names, times as ISO 8601, spans as milliseconds

    One request at a time: the next one is read when the last is answered. {"cancel":id} ends a transfer. Lines without an
    id are {"hello":...}, once at the start, and {"event":...}.

    Needs Windows PowerShell 5.1 in full language mode; an older one is told so in the hello and left. The first lines
    keep to what PowerShell 2.0 can parse.
#>
param(
    # Everything below this folder is the agent's; it reads and writes files nowhere else.
    [string] $Root = (Join-Path $env:ProgramData 'Omnivisor')
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
# Warnings and progress would go to standard output.
$WarningPreference = 'SilentlyContinue'
$ProgressPreference = 'SilentlyContinue'

$Cmdlets = @(
    'Get-VMHost', 'Get-VMSwitch',
    'Get-VM', 'New-VM', 'Set-VM', 'Remove-VM',
    'Start-VM', 'Stop-VM', 'Suspend-VM', 'Resume-VM', 'Save-VM', 'Remove-VMSavedState', 'Debug-VM',
    'Set-VMProcessor', 'Set-VMMemory', 'Set-VMBios', 'Set-VMFirmware', 'Set-VMComPort',
    'New-VHD', 'Get-VHD', 'Convert-VHD', 'Resize-VHD',
    'Add-VMHardDiskDrive', 'Get-VMHardDiskDrive', 'Remove-VMHardDiskDrive',
    'Add-VMDvdDrive', 'Get-VMDvdDrive', 'Set-VMDvdDrive',
    'Add-VMNetworkAdapter', 'Get-VMNetworkAdapter', 'Set-VMNetworkAdapter', 'Remove-VMNetworkAdapter',
    'Connect-VMNetworkAdapter', 'Disconnect-VMNetworkAdapter', 'Set-VMNetworkAdapterVlan',
    'Add-VMNetworkAdapterExtendedAcl', 'Get-VMNetworkAdapterExtendedAcl', 'Remove-VMNetworkAdapterExtendedAcl',
    'Checkpoint-VM', 'Get-VMSnapshot', 'Remove-VMSnapshot',
    'Move-VM',
    'Enable-VMResourceMetering', 'Disable-VMResourceMetering', 'Measure-VM',
    'Get-VMIntegrationService', 'Enable-VMIntegrationService'
)
$Functions = @(
    'Get-HostFact', 'Wait-HostCall', 'Receive-HostImage',
    'New-HostFolder', 'Get-HostItem', 'Remove-HostItem', 'Get-HostFile', 'Set-HostFile', 'Move-HostFile',
    'Send-HostShutdown', 'Get-HostGuestFact', 'Get-HostMigration', 'Stop-HostMigration',
    'Watch-HostVM', 'Open-HostConsole', 'Write-HostConsole'
)

$Utf8 = New-Object System.Text.UTF8Encoding $false
$Out = New-Object System.IO.StreamWriter ([Console]::OpenStandardOutput()), $Utf8
$Out.NewLine = "`n"
$Out.AutoFlush = $true

$Windows = Get-ItemProperty -Path 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
if ($PSVersionTable.PSVersion.Major -lt 5) {
    # There may be no JSON here; product and numbers need no escaping.
    $Out.WriteLine(('{{"hello":{{"protocol":3,"powershell":"{0}","build":{1},"product":"{2}","languageMode":"unknown"}}}}' -f `
        $PSVersionTable.PSVersion, [int] $Windows.CurrentBuildNumber, ($Windows.ProductName -replace '[^A-Za-z0-9 .]', '')))
    exit 3
}

# Windows PowerShell 5.1 would write {"value":[...],"Count":n} for some arrays.
Remove-TypeData -TypeName System.Array -ErrorAction Ignore

function Write-Line($Object) {
    $Out.WriteLine((ConvertTo-Json -InputObject $Object -Compress -Depth 12))
}

function New-Failure([string] $Id, [string] $Category, [string] $Message) {
    $exception = New-Object System.InvalidOperationException $Message
    return New-Object System.Management.Automation.ErrorRecord $exception, ($Id + ',Omnivisor.Host'), $Category, $null
}

function Get-Field($Object, [string] $Name) {
    $property = $Object.PSObject.Properties[$Name]
    if ($null -ne $property) { return , $property.Value }
    return $null
}

# ---- calls -----------------------------------------------------------------------------------------------------------

$Resolved = @{}

function Resolve-Command([string] $Name) {
    if (-not $Resolved.ContainsKey($Name)) {
        if ($Cmdlets -ccontains $Name) {
            $Resolved[$Name] = Get-Command -Name $Name -Module Hyper-V | Select-Object -First 1
        }
        elseif ($Functions -ccontains $Name) {
            $Resolved[$Name] = Get-Command -Name $Name -CommandType Function
        }
        else {
            throw (New-Failure 'NotAllowed' 'PermissionDenied' 'The host script does not run this command.')
        }
    }
    return $Resolved[$Name]
}

function Invoke-Call($Call) {
    $command = Resolve-Command ([string] $Call.cmdlet)
    $splat = @{}
    $parameters = Get-Field $Call 'parameters'
    if ($null -ne $parameters) {
        foreach ($property in $parameters.PSObject.Properties) { $splat[$property.Name] = $property.Value }
    }
    $objects = Get-Field $Call 'objects'
    if ($null -ne $objects) {
        foreach ($property in $objects.PSObject.Properties) {
            $found = @(Invoke-Call $property.Value)
            if ($found.Count -eq 0) {
                throw (New-Failure 'ObjectNotFound' 'ObjectNotFound' 'The object that a parameter names is not there.')
            }
            # A parameter that takes one object does not take a list of one.
            if ($found.Count -eq 1) { $splat[$property.Name] = $found[0] } else { $splat[$property.Name] = $found }
        }
    }
    if ($Cmdlets -ccontains $command.Name) {
        $splat['ErrorAction'] = 'Stop'
        $splat['WarningAction'] = 'SilentlyContinue'
    }
    $results = @(& $command @splat)
    $where = Get-Field $Call 'where'
    if ($null -eq $where) { return $results }
    return @($results | Where-Object { Test-Match $_ $where })
}

function Test-Match($Object, $Where) {
    foreach ($wanted in $Where.PSObject.Properties) {
        if ([string] (Get-Field $Object $wanted.Name) -ne [string] $wanted.Value) { return $false }
    }
    return $true
}

function ConvertTo-Plain($Value, $Select) {
    if ($null -eq $Value -or $Value -is [string] -or $Value -is [bool]) { return $Value }
    if ($Value -is [Enum] -or $Value -is [Guid] -or $Value -is [Version]) { return $Value.ToString() }
    if ($Value -is [DateTime]) { return $Value.ToUniversalTime().ToString('o') }
    if ($Value -is [TimeSpan]) { return [long] $Value.TotalMilliseconds }
    if ($Value.GetType().IsPrimitive -or $Value -is [decimal]) { return $Value }
    if ($Value -is [System.Collections.IEnumerable] -and $Value -isnot [System.Collections.IDictionary]) {
        $items = New-Object System.Collections.ArrayList
        foreach ($item in $Value) { [void] $items.Add((ConvertTo-Plain $item $Select)) }
        return , $items.ToArray()
    }
    $plain = @{}
    if ($Select -is [System.Management.Automation.PSCustomObject]) {
        foreach ($wanted in $Select.PSObject.Properties) {
            # A machine may go, or lose its storage, while it is looked at: what it does not tell then is left out.
            try { $plain[$wanted.Name] = ConvertTo-Plain (Get-Field $Value $wanted.Name) $wanted.Value }
            catch [System.Management.Automation.GetValueException] { continue }
        }
    }
    return $plain
}

function Invoke-Request([string] $Line) {
    $id = $null
    $lock = $null
    try {
        $request = ConvertFrom-Json -InputObject $Line
        $id = Get-Field $request 'id'
        # A cancel that comes when the transfer has ended already has nothing to cancel.
        if ($null -eq $id) { return }
        # What changes something can be waited for, also by a later agent.
        if ([string] $request.cmdlet -notmatch '^(Get|Wait|Measure)-') { $lock = New-CallLock }
        $select = Get-Field $request 'select'
        $results = New-Object System.Collections.ArrayList
        foreach ($found in @(Invoke-Call $request)) { [void] $results.Add((ConvertTo-Plain $found $select)) }
        Write-Line @{ id = $id; ok = $true; result = $results.ToArray() }
    }
    catch {
        Write-Line @{
            id = $id; ok = $false
            error = @{
                fullyQualifiedErrorId = [string] $_.FullyQualifiedErrorId
                category = $_.CategoryInfo.Category.ToString()
                message = [string] $_.Exception.Message
                exception = $_.Exception.GetType().FullName
                hresult = '0x{0:x8}' -f $_.Exception.GetBaseException().HResult
            }
        }
    }
    finally {
        if ($null -ne $lock) { $lock.Dispose() }
    }
}

# ---- calls of other runs ---------------------------------------------------------------------------------------------

# A file that is there as long as the call takes, and goes with this process whatever ends it.
function New-CallLock {
    $folder = Join-Path $Root 'calls'
    [void] [System.IO.Directory]::CreateDirectory($folder)
    $path = Join-Path $folder ([Guid]::NewGuid().ToString('n'))
    return New-Object System.IO.FileStream $path, ([System.IO.FileMode]::CreateNew), ([System.IO.FileAccess]::Write),
        ([System.IO.FileShare]::None), 4096, ([System.IO.FileOptions]::DeleteOnClose)
}

# Returns when what other runs were doing is done: an agent that died leaves calls behind that still go on.
function Wait-HostCall {
    $folder = Join-Path $Root 'calls'
    if (-not [System.IO.Directory]::Exists($folder)) { return }
    $deadline = [DateTime]::UtcNow.AddSeconds(45)
    foreach ($path in [System.IO.Directory]::GetFiles($folder)) {
        while ([System.IO.File]::Exists($path)) {
            try { [System.IO.File]::Delete($path) }
            catch [System.IO.IOException] {
                if ([DateTime]::UtcNow -gt $deadline) {
                    throw (New-Failure 'Timeout' 'OperationTimeout' 'An earlier call has not ended yet.')
                }
                Start-Sleep -Milliseconds 100
            }
        }
    }
}

# ---- the host --------------------------------------------------------------------------------------------------------

# An account that has come by ssh is no administrator and not at the machine: Windows tells it nothing of itself by WMI, and
# nothing of its services. The registry does.
function Get-HostFact {
    $network = Get-ItemProperty -Path 'HKLM:\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters'
    $domain = [string] (Get-Field $network 'Domain')
    $processor = Get-ItemProperty -Path 'HKLM:\HARDWARE\DESCRIPTION\System\CentralProcessor\0'
    $space = Get-Space $Root
    return New-Object psobject -Property @{
        Product = [string] $Windows.ProductName
        Build = [int] $Windows.CurrentBuildNumber
        ComputerName = $env:COMPUTERNAME
        DomainName = $(if ($domain -eq '') { $null } else { $domain })
        Processors = @([string] (Get-Field $processor 'ProcessorNameString'))
        Module = $null -ne (Get-Module -Name Hyper-V -ListAvailable)
        Root = $Root
        FreeBytes = $space.Free
        TotalBytes = $space.Total
        DelegatesTo = Get-Delegation
        WmiError = Get-WmiError
    }
}

# Of the volume that a folder lies on, which may be mounted into another one, as those of a cluster are. DriveInfo knows
# letters only; Windows' own call knows folders, and .NET Framework has it for itself.
function Get-Space([string] $Path) {
    $folder = [System.IO.Path]::GetFullPath($Path)
    while ($folder -and -not [System.IO.Directory]::Exists($folder)) { $folder = [System.IO.Path]::GetDirectoryName($folder) }
    if (-not $folder) { throw (New-Failure 'NoDrive' 'ObjectNotFound' 'There is no drive for the folder of the host script.') }
    $native = [System.IO.File].Assembly.GetType('Microsoft.Win32.Win32Native')
    $method = $native.GetMethod('GetDiskFreeSpaceEx', [System.Reflection.BindingFlags] 'NonPublic, Static')
    $values = [object[]] @(($folder.TrimEnd('\') + '\'), [long] 0, [long] 0, [long] 0)
    if (-not $method.Invoke($null, $values)) {
        throw (New-Failure 'NoSpace' 'NotSpecified' 'Windows does not tell the space on the volume.')
    }
    return New-Object psobject -Property @{ Free = [long] $values[1]; Total = [long] $values[2] }
}

# Services this host may reach in the name of whoever speaks to it; null when the directory does not tell.
function Get-Delegation {
    try {
        $searcher = New-Object System.DirectoryServices.DirectorySearcher
        $searcher.Filter = '(&(objectCategory=computer)(sAMAccountName={0}$))' -f $env:COMPUTERNAME
        return , @($searcher.FindOne().Properties['msds-allowedtodelegateto'])
    }
    catch { return $null }
}

# Requests to shut down, what guests tell of themselves, migrations and events come by this namespace; null when it answers.
function Get-WmiError {
    try {
        $service = 'Msvm_VirtualSystemManagementService'
        [void] (Get-CimInstance -Namespace root\virtualization\v2 -ClassName $service -OperationTimeoutSec 10)
        return $null
    }
    catch { return [string] $_.Exception.Message }
}

# ---- files, all below $Root ------------------------------------------------------------------------------------------

function Resolve-Inside([string] $Path) {
    $full = [System.IO.Path]::GetFullPath($Path)
    $inside = [System.IO.Path]::GetFullPath($Root).TrimEnd('\') + '\'
    if (-not $full.StartsWith($inside, [System.StringComparison]::OrdinalIgnoreCase)) {
        throw (New-Failure 'OutsideRoot' 'PermissionDenied' 'The path is not below the folder of the host script.')
    }
    return $full
}

function New-HostFolder([string] $Path) {
    [void] [System.IO.Directory]::CreateDirectory((Resolve-Inside $Path))
}

function Get-HostItem([string] $Path) {
    $folder = New-Object System.IO.DirectoryInfo (Resolve-Inside $Path)
    if (-not $folder.Exists) { return }
    foreach ($item in $folder.GetFileSystemInfos()) {
        $isFolder = $item -is [System.IO.DirectoryInfo]
        New-Object psobject -Property @{
            Name = $item.Name
            IsFolder = $isFolder
            Length = $(if ($isFolder) { 0 } else { $item.Length })
            Changed = $item.LastWriteTimeUtc
        }
    }
}

function Remove-HostItem([string] $Path) {
    $full = Resolve-Inside $Path
    if ([System.IO.Directory]::Exists($full)) { [System.IO.Directory]::Delete($full, $true) }
    elseif ([System.IO.File]::Exists($full)) { [System.IO.File]::Delete($full) }
}

# A negative offset counts from the end.
function Get-HostFile([string] $Path, [long] $Offset, [int] $Length) {
    $full = Resolve-Inside $Path
    if (-not [System.IO.File]::Exists($full)) { return }
    $file = [System.IO.File]::Open($full, 'Open', 'Read', 'ReadWrite, Delete')
    try {
        if ($Offset -lt 0) { $Offset = [Math]::Max(0, $file.Length + $Offset) }
        [void] $file.Seek($Offset, 'Begin')
        $buffer = New-Object byte[] $Length
        $filled = 0
        while ($filled -lt $Length) {
            $count = $file.Read($buffer, $filled, $Length - $filled)
            if ($count -eq 0) { break }
            $filled += $count
        }
        return New-Object psobject -Property @{
            Base64 = [Convert]::ToBase64String($buffer, 0, $filled)
            TotalLength = $file.Length
        }
    }
    finally { $file.Dispose() }
}

function Set-HostFile([string] $Path, [string] $Base64, [bool] $Append) {
    $full = Resolve-Inside $Path
    $bytes = [Convert]::FromBase64String($Base64)
    $file = [System.IO.File]::Open($full, $(if ($Append) { 'Append' } else { 'Create' }), 'Write', 'Read')
    try {
        $file.Write($bytes, 0, $bytes.Length)
        $file.Flush($true)
    }
    finally { $file.Dispose() }
}

function Move-HostFile([string] $Path, [string] $Destination) {
    $from = Resolve-Inside $Path
    $to = Resolve-Inside $Destination
    if ([System.IO.File]::Exists($to)) { [System.IO.File]::Delete($to) }
    [System.IO.File]::Move($from, $to)
}

# ---- image bytes -----------------------------------------------------------------------------------------------------

# Fetches one image by a URL that is good for it alone. The file has its name only when its bytes are what they should be.
function Receive-HostImage([string] $Url, [string] $Sha256, [long] $Size, [string] $Path) {
    $full = Resolve-Inside $Path
    if ([System.IO.File]::Exists($full)) { return }
    if ((Get-Space $full).Free -lt $Size) {
        throw (New-Failure 'DiskFull' 'ResourceUnavailable' 'There is not enough space on the disk. (0x80070070)')
    }
    [System.Net.ServicePointManager]::SecurityProtocol =
        [System.Net.ServicePointManager]::SecurityProtocol -bor [System.Net.SecurityProtocolType]::Tls12
    $partial = '{0}.{1}.part' -f $full, [Guid]::NewGuid().ToString('n')
    $hash = New-Object System.Security.Cryptography.SHA256CryptoServiceProvider
    $file = [System.IO.File]::Open($partial, 'CreateNew', 'Write', 'None')
    try {
        $web = [System.Net.WebRequest]::Create($Url)
        $web.AllowAutoRedirect = $false
        $web.Timeout = 30000
        $web.ReadWriteTimeout = 60000
        $response = $web.GetResponse()
        try {
            if ([int] $response.StatusCode -ne 200) {
                throw (New-Failure 'TransferFailed' 'ConnectionError' ('The image service answered {0}.' -f [int] $response.StatusCode))
            }
            $stream = $response.GetResponseStream()
            $buffer = New-Object byte[] 1048576
            $total = [long] 0
            while (($count = $stream.Read($buffer, 0, $buffer.Length)) -gt 0) {
                $total += $count
                if ($total -gt $Size) { break }
                $file.Write($buffer, 0, $count)
                [void] $hash.TransformBlock($buffer, 0, $count, $null, 0)
                # Only a cancel, or the end of the agent, comes while a request is worked on.
                if ($script:NextLine.IsCompleted) {
                    throw (New-Failure 'Cancelled' 'OperationStopped' 'The transfer was cancelled.')
                }
            }
        }
        finally { $response.Close() }
        [void] $hash.TransformFinalBlock($buffer, 0, 0)
        $file.Dispose()
        $digest = [BitConverter]::ToString($hash.Hash).Replace('-', '')
        if ($total -ne $Size -or $digest -ne $Sha256) {
            throw (New-Failure 'WrongBytes' 'InvalidData' 'The bytes that came are not those of the image.')
        }
        if ([System.IO.File]::Exists($full)) { [System.IO.File]::Delete($partial) }
        else { [System.IO.File]::Move($partial, $full) }
    }
    finally {
        $file.Dispose()
        $hash.Dispose()
        if ([System.IO.File]::Exists($partial)) { [System.IO.File]::Delete($partial) }
    }
}

# ---- guests ----------------------------------------------------------------------------------------------------------

function Get-GuestComponent([string] $Class, [string] $VMId) {
    $component = Get-CimInstance -Namespace root\virtualization\v2 -ClassName $Class | Where-Object { $_.SystemName -eq $VMId }
    if ($null -eq $component) {
        throw (New-Failure 'ObjectNotFound' 'ObjectNotFound' 'The virtual machine has no such integration service.')
    }
    return $component
}

# Asks the guest to shut down and does not wait for it, unlike Stop-VM.
function Send-HostShutdown([string] $VMId) {
    $component = Get-GuestComponent 'Msvm_ShutdownComponent' $VMId
    $arguments = @{ Force = $true; Reason = 'Requested by the cloud' }
    $answer = Invoke-CimMethod -InputObject $component -MethodName InitiateShutdown -Arguments $arguments
    return New-Object psobject -Property @{ ReturnValue = [long] $answer.ReturnValue }
}

# What the guest tells of itself by key-value pairs.
function Get-HostGuestFact([string] $VMId) {
    $component = Get-GuestComponent 'Msvm_KvpExchangeComponent' $VMId
    $facts = @{}
    foreach ($item in @($component.GuestIntrinsicExchangeItems)) {
        if ([string]::IsNullOrEmpty($item)) { continue }
        $pair = @{}
        foreach ($property in ([xml] $item).INSTANCE.PROPERTY) {
            if ($property.NAME -eq 'Name' -or $property.NAME -eq 'Data') { $pair[$property.NAME] = [string] (Get-Field $property 'VALUE') }
        }
        if ($pair.ContainsKey('Name')) { $facts[$pair['Name']] = $pair['Data'] }
    }
    return New-Object psobject -Property $facts
}

function Get-MigrationJob([string] $VMId) {
    return Get-CimInstance -Namespace root\virtualization\v2 -ClassName Msvm_MigrationJob | Where-Object {
        $_.VirtualSystemName -eq $VMId -and $_.JobState -lt 7
    }
}

function Get-HostMigration([string] $VMId) {
    foreach ($job in @(Get-MigrationJob $VMId)) {
        New-Object psobject -Property @{ PercentComplete = [int] $job.PercentComplete }
    }
}

# The machine goes on here.
function Stop-HostMigration([string] $VMId) {
    foreach ($job in @(Get-MigrationJob $VMId)) {
        [void] (Invoke-CimMethod -InputObject $job -MethodName RequestStateChange -Arguments @{ RequestedState = [uint16] 4 })
    }
}

# ---- events and consoles ---------------------------------------------------------------------------------------------

$Watching = $false

function Watch-HostVM {
    if ($script:Watching) { return }
    Register-CimIndicationEvent -Namespace root\virtualization\v2 -SourceIdentifier OmnivisorVM -Query (
        'SELECT * FROM __InstanceModificationEvent WITHIN 2 WHERE TargetInstance ISA ''Msvm_ComputerSystem'' ' +
        'AND TargetInstance.EnabledState <> PreviousInstance.EnabledState')
    $script:Watching = $true
}

function Send-Event {
    if (-not $script:Watching) { return }
    foreach ($occurred in @(Get-Event -SourceIdentifier OmnivisorVM -ErrorAction Ignore)) {
        Remove-Event -EventIdentifier $occurred.EventIdentifier
        $target = $occurred.SourceEventArgs.NewEvent.TargetInstance
        Write-Line @{ event = 'vm'; vmId = [string] $target.Name; enabledState = [int] $target.EnabledState }
    }
}

$Consoles = @{}

# Only one client can hold a serial port's pipe, so what comes goes to the log and to the agent alike.
function Open-HostConsole([string] $VMId, [string] $Pipe, [string] $Log) {
    if ($Consoles.ContainsKey($VMId)) { return }
    if ($Pipe -notmatch '^\\\\\.\\pipe\\(omnivisor-[0-9a-f-]{36})$') {
        throw (New-Failure 'InvalidPipe' 'InvalidArgument' 'The pipe is not one of ours.')
    }
    $name = $Matches[1]
    $log = Resolve-Inside $Log
    $direction = [System.IO.Pipes.PipeDirection]::InOut
    $client = New-Object System.IO.Pipes.NamedPipeClientStream '.', $name, $direction, ([System.IO.Pipes.PipeOptions]::Asynchronous)
    try { $client.Connect(2000) }
    catch [System.UnauthorizedAccessException] {
        $client.Dispose()
        throw (New-Failure 'PipeDenied' 'PermissionDenied' 'The account may not open the serial port.')
    }
    catch {
        $client.Dispose()
        throw (New-Failure 'PipeUnavailable' 'ResourceUnavailable' 'The serial port does not answer.')
    }
    $buffer = New-Object byte[] 32768
    $Consoles[$VMId] = @{ Pipe = $client; Buffer = $buffer; Log = $log; Read = $client.ReadAsync($buffer, 0, $buffer.Length) }
}

function Write-HostConsole([string] $VMId, [string] $Base64) {
    if (-not $Consoles.ContainsKey($VMId)) {
        throw (New-Failure 'PipeUnavailable' 'ResourceUnavailable' 'The serial port is not open.')
    }
    $bytes = [Convert]::FromBase64String($Base64)
    $Consoles[$VMId].Pipe.Write($bytes, 0, $bytes.Length)
}

function Send-Console {
    foreach ($vmId in @($Consoles.Keys)) {
        $console = $Consoles[$vmId]
        if (-not $console.Read.IsCompleted) { continue }
        $count = 0
        if ($console.Read.Status -eq 'RanToCompletion') { $count = $console.Read.Result }
        if ($count -eq 0) {
            $console.Pipe.Dispose()
            $Consoles.Remove($vmId)
            Write-Line @{ event = 'consoleEnd'; vmId = $vmId }
            continue
        }
        Add-Log $console.Log $console.Buffer $count
        Write-Line @{ event = 'console'; vmId = $vmId; base64 = [Convert]::ToBase64String($console.Buffer, 0, $count) }
        $console.Read = $console.Pipe.ReadAsync($console.Buffer, 0, $console.Buffer.Length)
    }
}

# Keeps the newest part: between one and two MiB.
function Add-Log([string] $Path, [byte[]] $Bytes, [int] $Count) {
    try {
        $file = [System.IO.File]::Open($Path, 'OpenOrCreate', 'ReadWrite', 'Read')
        try {
            if ($file.Length -gt 2097152) {
                $kept = New-Object byte[] 1048576
                [void] $file.Seek(-1048576, 'End')
                $length = $file.Read($kept, 0, $kept.Length)
                $file.SetLength(0)
                $file.Write($kept, 0, $length)
            }
            [void] $file.Seek(0, 'End')
            $file.Write($Bytes, 0, $Count)
        }
        finally { $file.Dispose() }
    }
    # A log that cannot be written must not stop the guest's console.
    catch [System.IO.IOException] { return }
}

# ----------------------------------------------------------------------------------------------------------------------

Write-Line @{
    hello = @{
        protocol = 3
        powershell = $PSVersionTable.PSVersion.ToString()
        build = [int] $Windows.CurrentBuildNumber
        product = [string] $Windows.ProductName
        languageMode = $ExecutionContext.SessionState.LanguageMode.ToString()
    }
}

# Not [Console]::In, whose asynchronous reads block.
$In = New-Object System.IO.StreamReader ([Console]::OpenStandardInput()), $Utf8
$NextLine = $In.ReadLineAsync()
while ($true) {
    $waiting = @($NextLine) + @($Consoles.Values | ForEach-Object { $_.Read })
    [void] [System.Threading.Tasks.Task]::WaitAny([System.Threading.Tasks.Task[]] $waiting, 500)
    Send-Event
    Send-Console
    if (-not $NextLine.IsCompleted) { continue }
    $line = $NextLine.Result
    if ($null -eq $line) { break }
    $NextLine = $In.ReadLineAsync()
    Invoke-Request $line
}
